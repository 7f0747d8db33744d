"""The kernels in scikit-learn.

`DEQKernel` goes wherever scikit-learn takes a callable kernel (`SVC(kernel=DEQKernel(...))`,
`KernelRidge`, `KernelPCA`, `Nystroem`, `SpectralClustering`), and is itself a transformer to kernel
matrices, for `SVC(kernel="precomputed")` in a pipeline. `DEQCovariance` is a kernel of Gaussian
processes.
"""

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.gaussian_process.kernels import Kernel
from sklearn.utils.validation import check_is_fitted, validate_data

from deqlab.activations.base import Activation
from deqlab.activations.ramps import ReLU
from deqlab.kernels.data import Data, as_data, norm_of
from deqlab.kernels.implicit import ImplicitKernel
from deqlab.kernels.kinds import Kind, Trained, check_kind, check_trained


class DEQKernel(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """The CK or NTK of a wide DEQ, as scikit-learn's kernels are.

    As a transformer it maps samples to their kernel with the samples of `fit`. As a callable
    (x, y) it is the kernel itself, and the centring follows y, which scikit-learn passes as the
    training data; in parts where n_jobs is above 1, which needs tau0.

    Attributes:
        activation: phi; None for ReLU.
        sigma_a2: Variance of the recurrent weights; see `ImplicitKernel`.
        sigma_b2: The variance of the input weights; None for 1 - sigma_a2.
        kind: "conjugate" or "tangent".
        trained: Which weights train; a tangent kernel needs it.
        tau0: Fixes the centring; None for the root mean square norm of the training data.

    Example:
        >>> from sklearn.svm import SVC
        >>> from sklearn.datasets import load_iris
        >>> x, y = load_iris(return_X_y=True)
        >>> bool(SVC(kernel=DEQKernel(sigma_a2=0.2)).fit(x, y).score(x, y) > 0.9)
        True
    """

    def __init__(
        self,
        activation: Any = None,  # noqa: ANN401, scikit-learn has arguments looked at by `fit`
        *,
        sigma_a2: Any = 0.2,  # noqa: ANN401
        sigma_b2: Any = None,  # noqa: ANN401
        kind: Any = "conjugate",  # noqa: ANN401
        trained: Any = None,  # noqa: ANN401
        tau0: Any = None,  # noqa: ANN401
    ) -> None:
        self.activation = activation
        self.sigma_a2 = sigma_a2
        self.sigma_b2 = sigma_b2
        self.kind = kind
        self.trained = trained
        self.tau0 = tau0

    def fit(self, X: Any, y: Any = None) -> "DEQKernel":  # noqa: ANN401, N803
        """Remember the samples.

        Raises:
            ValueError: A setting is outside its domain, or the DEQ has no kernel there.
        """
        self.X_fit_ = validate_data(self, X, dtype=np.float64)
        check_kind(self.kind)
        if self.kind == "tangent":
            check_trained(self.trained)
        _implicit(self).tau(norm_of(as_data(self.X_fit_), self.tau0))  # it has a kernel
        return self

    def transform(self, X: Any) -> np.ndarray:  # noqa: ANN401, N803
        """Return the kernel of X with the samples of `fit`, (len(X), len(X_fit_))."""
        check_is_fitted(self)
        return self(validate_data(self, X, dtype=np.float64, reset=False), self.X_fit_)

    def fit_transform(self, X: Any, y: Any = None, **options: Any) -> np.ndarray:  # noqa: ANN401, N803
        """Return the kernel of the samples with themselves."""
        fitted = self.fit(X, y)
        return fitted(fitted.X_fit_, fitted.X_fit_)

    def __call__(self, x: Data, y: Data | None = None) -> np.ndarray:
        """Return the kernel of the rows of x with those of y, or of x.

        Raises:
            ValueError: tau0 is None, and y is a part of x, so that no one can tell which data the
                centring should follow.
        """
        if self.tau0 is None and y is not None and _is_part(y, x):
            raise ValueError(
                "y is a part of x, as scikit-learn passes the training data where n_jobs is above "
                "1; the centring would follow the part: set tau0, the root mean square norm of the "
                "training data, or n_jobs=1"
            )
        return _evaluate(
            _implicit(self), x, y, kind=self.kind, trained=self.trained, tau0=self.tau0
        )

    @property
    def requires_vector_input(self) -> bool:
        """Refuse what a Gaussian process asks first.

        Raises:
            TypeError: Always.
        """
        raise TypeError(
            "DEQKernel is no covariance of a Gaussian process, which asks for single variances, "
            "where the data that fix the centring are not known; take DEQCovariance(tau0)"
        )

    @property
    def _n_features_out(self) -> int:
        return len(self.X_fit_)


# `pairwise_kernels`, which KernelRidge, KernelPCA, Nystroem and SpectralClustering call, passes
# whole matrices to a `Kernel`, and to any other callable one pair of samples at a time.
Kernel.register(DEQKernel)


class DEQCovariance(Kernel):  # type: ignore[misc]
    """The CK or NTK of a wide DEQ as the covariance of a Gaussian process.

    It has no hyperparameters to fit; scale it by a `ConstantKernel`, and add a `WhiteKernel`.

    Attributes:
        tau0: Root mean square norm of the training data. It fixes the centring, and must be
            given: a Gaussian process asks for single variances, too.
        activation: phi; None for ReLU.
        sigma_a2: Variance of the recurrent weights; see `ImplicitKernel`.
        sigma_b2: The variance of the input weights; None for 1 - sigma_a2.
        kind: "conjugate" or "tangent".
        trained: Which weights train; a tangent kernel needs it.
    """

    def __init__(
        self,
        tau0: float,
        activation: Activation | None = None,
        *,
        sigma_a2: float = 0.2,
        sigma_b2: float | None = None,
        kind: Kind = "conjugate",
        trained: Trained | None = None,
    ) -> None:
        self.tau0 = tau0
        self.activation = activation
        self.sigma_a2 = sigma_a2
        self.sigma_b2 = sigma_b2
        self.kind = kind
        self.trained = trained

    def __call__(
        self,
        X: Data,  # noqa: N803
        Y: Data | None = None,  # noqa: N803
        eval_gradient: bool = False,
    ) -> Any:  # noqa: ANN401
        """Return the covariance; and its gradient, which has no columns."""
        matrix = _evaluate(
            _implicit(self), X, Y, kind=self.kind, trained=self.trained, tau0=self.tau0
        )
        return (matrix, np.empty((*matrix.shape, 0))) if eval_gradient else matrix

    def diag(self, X: Data) -> np.ndarray:  # noqa: N803
        """Return the variance of each row."""
        diagonal = _implicit(self).diagonal(X, kind=self.kind, trained=self.trained, tau0=self.tau0)
        return np.asarray(diagonal.numpy())

    def is_stationary(self) -> bool:
        """It depends on more than x - y."""
        return False


def _implicit(settings: DEQKernel | DEQCovariance) -> ImplicitKernel:
    phi = ReLU() if settings.activation is None else settings.activation
    if not isinstance(phi, Activation):
        raise ValueError(f"activation must be one of deqlab.activations, got {phi!r}")
    return ImplicitKernel(activation=phi, sigma_a2=settings.sigma_a2, sigma_b2=settings.sigma_b2)


def _is_part(y: object, x: object) -> bool:
    """Return whether the rows of y are some of those of x, in the same memory."""
    if not (isinstance(x, np.ndarray) and isinstance(y, np.ndarray)) or y is x:
        return False
    if y.ndim != 2 or x.ndim != 2 or len(y) >= len(x) or x.shape[1] != y.shape[1]:
        return False
    start, first = (array.__array_interface__["data"][0] for array in (x, y))
    row = x.strides[0]
    rows, rest = divmod(first - start, row) if row else (0, 1)
    return x.strides == y.strides and rest == 0 and 0 <= rows <= len(x) - len(y)


def _evaluate(
    kernel: ImplicitKernel,
    x: Data,
    y: Data | None,
    *,
    kind: Kind,
    trained: Trained | None,
    tau0: float | None,
) -> np.ndarray:
    other = None if y is x else y
    if tau0 is None:
        tau0 = norm_of(as_data(x if other is None else other), None)
    if kind == "conjugate":
        matrix = kernel.conjugate(x, other, tau0=tau0)
    else:
        check_trained(trained)
        assert trained is not None
        matrix = kernel.tangent(x, other, tau0=tau0, trained=trained)
    return np.asarray(matrix.numpy())
