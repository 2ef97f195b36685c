"""The exceptions Paretune raises on purpose.

::

    ParetuneError                 one line for the user; the command ends with exit code 1
    |-- ConfigurationError        the experiment file or a policy file says something impossible
    |-- ModelRefused              the model file is unsafe, unreadable or of an unsupported kind
    |-- DataError                 the data is missing, malformed or does not fit the model
    |-- Unsatisfiable             no policy of the space can meet the constraints
    |-- RunError                  the run folder is in use, missing, or belongs to another experiment
    |-- ExportMismatch            a written file does not measure as the trial did
    `-- TrialError                ends one trial, never the search
        |-- Infeasible            the policy cannot be built or trained; the reason is recorded
        |-- MeasurementFailed     building worked, measuring did not; retried once
        |-- LimitReached          the trial's time or step limit ended it
        `-- WorkerLost            the worker crashed, was killed, or hung

Anything else that escapes an evaluator is a bug: the search stops loudly and keeps what it has.
"""


class ParetuneError(Exception):
    """Something the user can mend, told in one line."""


class ConfigurationError(ParetuneError):
    """The experiment file or a policy file says something impossible."""


class ModelRefused(ParetuneError):
    """The model file is unsafe, unreadable or of an unsupported kind."""


class DataError(ParetuneError):
    """The data is missing, malformed or does not fit the model."""


class Unsatisfiable(ParetuneError):
    """No policy of the space can meet the constraints."""


class RunError(ParetuneError):
    """The run folder is in use, missing, or belongs to another experiment."""


class ExportMismatch(ParetuneError):
    """A written file does not measure as the trial did."""


class TrialError(ParetuneError):
    """Ends one trial, never the search."""


class Infeasible(TrialError):
    """The policy cannot be built or trained."""


class MeasurementFailed(TrialError):
    """The candidate was built but could not be measured; worth one retry."""


class LimitReached(TrialError):
    """The trial's time or step limit ended it."""


class WorkerLost(TrialError):
    """The worker crashed, was killed, or hung."""
