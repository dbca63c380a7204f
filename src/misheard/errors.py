"""Every error that a user can meet.

One root, `MisheardError`. The docstring of a class is its message; what a call knows beyond it
(which file, which value, what to do next) is passed as `detail`. The command line prints the
message and leaves with `exit_code`.
"""

import inspect


class MisheardError(Exception):
    """misheard could not do what was asked."""

    exit_code = 1

    def __init__(self, detail: str = "") -> None:
        headline = inspect.cleandoc(type(self).__doc__ or "").split("\n\n")[0].replace("\n", " ")
        super().__init__(f"{headline} {detail}".strip())
        self.detail = detail


class MisheardWarning(UserWarning):
    """What was asked was done, and there is something to know about it."""


class BadInputError(MisheardError):
    """The input cannot be used."""

    exit_code = 2


class NotAudioError(BadInputError):
    """This is no audio that can be decoded."""


class EmptyAudioError(BadInputError):
    """This audio holds no samples."""


class InvalidSamplesError(BadInputError):
    """These audio samples are not finite numbers."""


class AudioDamagedError(BadInputError):
    """This audio is cut short or damaged."""


class AudioTooLongError(BadInputError):
    """This audio is longer than what is taken."""


class AudioTooShortError(BadInputError):
    """This audio is shorter than what is taken."""


class UnsupportedAudioError(BadInputError):
    """Audio of this kind is not taken."""


class DecodingTimedOutError(BadInputError):
    """Decoding this audio took more time or memory than is given to a file."""


class DecoderUnavailableError(MisheardError):
    """No process can be started to decode audio in."""


class InvalidTranscriptError(BadInputError):
    """A transcript must be text."""


class NormalizerFailedError(InvalidTranscriptError):
    """The normaliser could make nothing of a text."""


class MismatchedLengthsError(BadInputError):
    """There must be as many hypotheses as references."""


class ModelNotFoundError(BadInputError):
    """There is no such model."""


class ModelCorruptError(BadInputError):
    """The files of this model are damaged or not what they should be."""


class UnsupportedModelError(BadInputError):
    """This kind of model cannot be used for what was asked."""


class WorkspaceNotFoundError(BadInputError):
    """There is no workspace here."""


class WorkspaceExistsError(BadInputError):
    """There is a workspace here already."""


class NewerSchemaError(BadInputError):
    """This workspace was written by a newer misheard."""


class InvalidSettingError(BadInputError):
    """A setting is unknown or has a value it cannot take."""


class UnknownIdError(BadInputError):
    """Nothing is kept under this id."""


class InvalidManifestError(BadInputError):
    """This list of utterances cannot be read."""


class InvalidSuiteError(BadInputError):
    """No regression suite can be held to these figures."""


class NoSuiteError(BadInputError):
    """There is no regression suite to run."""


class BaselineNotMovedError(BadInputError):
    """The baseline of a suite is moved only for a reason."""


class BlobNotFoundError(MisheardError):
    """A file that the database points at is missing from the blob store."""


class BlobCorruptError(MisheardError):
    """A stored file does not match its SHA-256."""


class BucketUnavailableError(MisheardError):
    """This bucket cannot be used as it is."""


class BucketUnreachableError(BucketUnavailableError):
    """This bucket cannot be used just now."""


class BucketTakenError(BadInputError):
    """The files of one workspace are not mixed with those of another."""


class BucketLeftError(BadInputError):
    """A bucket that is not known here may hold what is to be deleted: nothing was deleted."""


class NoBucketError(BadInputError):
    """This workspace has no bucket: all of its files are in its directory."""


class MissingExtraError(MisheardError):
    """This needs a library that is not installed."""


class TooFewLabelsError(BadInputError):
    """There are too few corrections to learn suspicion from."""


class EmptyDatasetError(BadInputError):
    """There is nothing to build this dataset from."""


class UnspeakableTextError(BadInputError):
    """A model cannot be taught this text."""


class DatasetQualityError(BadInputError):
    """Too many utterances of this dataset have a flaw to train on it."""


class JobFailedError(MisheardError):
    """The training job failed."""


class MachineMissingError(BadInputError):
    """There is no machine that could train."""


class BudgetError(MisheardError):
    """No machine is rented: it could cost more than this month's budget has left."""


class DiskFullError(MisheardError):
    """There is no room left on the disk."""


class MemoryFullError(MisheardError):
    """There is not enough memory for this."""


class ComputeError(MisheardError):
    """Google Compute Engine did not do what was asked of it."""


class NoMachineError(ComputeError):
    """This zone has no such machine to rent now."""


class QuotaError(ComputeError):
    """The quota of this project does not allow this machine."""


class ComputeRefusedError(ComputeError):
    """Google Compute Engine cannot be used by this account or project as they are."""


class ImageNotFoundError(ComputeError):
    """There is no such image to start a machine from."""


class MachineGoneError(ComputeError):
    """This machine was made, and is gone again."""


class NotOursError(ComputeError):
    """A machine of this name is there, and it was not rented for this job."""


class ComputeUnreachableError(ComputeError):
    """Google Compute Engine did not answer, or not in time."""


class TrainingCallbackError(MisheardError):
    """The function that was to start a training raised an error."""


class GateRefusedError(MisheardError):
    """A gate has refused this model version."""


class NothingDeployedError(BadInputError):
    """No model version is live."""


class NoEarlierVersionError(BadInputError):
    """There is no earlier version to roll back to."""


class IllegalTransitionError(BadInputError):
    """A cycle cannot take this step from where it stands."""


class LeaseLostError(MisheardError):
    """Another process has taken over this cycle."""


class DeploymentConflictError(MisheardError):
    """Someone else has deployed in the meantime."""


class RolloutConflictError(MisheardError):
    """Another rollout is under way in this slot."""


class RolloutStateError(BadInputError):
    """A rollout cannot take this step from where it stands."""


class PromotionFailedError(MisheardError):
    """A canary was to go live and could not, so it goes on as one."""


class StagingFailedError(MisheardError):
    """A server could not get this model version ready, so it did not go live."""


class NotFollowedError(MisheardError):
    """It is live, but a server does not answer with it yet."""


class NotReadyError(MisheardError):
    """No model is loaded yet that could answer."""


class OverloadedError(MisheardError):
    """More is asked of this server than it can do."""

    def __init__(self, detail: str = "", *, retry_after_s: float = 1.0) -> None:
        super().__init__(detail)
        self.retry_after_s = retry_after_s


class VersionExistsError(BadInputError):
    """Another model version is kept under this id."""


class VersionPrunedError(BadInputError):
    """The files of this model version are gone: retention let go of them."""


class EngineClosedError(MisheardError):
    """This engine takes no more audio."""


class DeliveryFailedError(MisheardError):
    """A channel did not take an alert."""


class BackupFailedError(MisheardError):
    """The backup could not be made."""


class StorageBusyError(MisheardError):
    """The database could not be written to."""


class DatabaseInUseError(MisheardError):
    """Another process has this database open."""


class DatabaseUnreachableError(MisheardError):
    """The database cannot be reached."""


class NotAllowedError(MisheardError):
    """This is not allowed."""


class UnknownTokenError(NotAllowedError):
    """There is no such token."""


class RevokedTokenError(NotAllowedError):
    """This token was revoked."""


class ExpiredTokenError(NotAllowedError):
    """This token has expired."""


class UnsafeAddressError(BadInputError):
    """Others would reach this server, and it has no token to know them by."""


class AddressTakenError(BadInputError):
    """Another program listens at this address."""


class ObjectExistsError(MisheardError):
    """There is an object of this name already."""


class ObjectChangedError(MisheardError):
    """This object is not the one that was looked at: somebody has written it since."""


class BundleError(MisheardError):
    """What a rented machine needs cannot be put together."""


class AttemptOverError(MisheardError):
    """Another machine has taken over this training."""


class HomecomingError(MisheardError):
    """What a rented machine has made cannot be taken home."""
