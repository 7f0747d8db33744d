"""How an experiment becomes a run on disk: jobs, workers, rows, one sitting after another."""
