"""What a loop of another package needs to keep DEQs at their equilibrium.

The callbacks stand in `deqlab.integrations.lightning` and `deqlab.integrations.transformers`, which
import those packages. A loop of Accelerate, or any plain one, needs none: see docs/integrations.md.
"""

from deqlab.integrations.scalars import scalars

__all__ = ["scalars"]
