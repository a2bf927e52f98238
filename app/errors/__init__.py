"""Every refusal of this house, one class a reason.

NextSliceError
├── InvalidInput            422  what was sent cannot be used
│   ├── ImageRefused             NotAnImage (IsSegmentation), TruncatedImage, WrongDimensions, NonFiniteVoxel,
│   │                            UnsupportedDtype, PixelsNotExact, AxisUnclear, UnknownAxis
│   ├── MaskRefused              NotAMask, MaskLengthWrong, NotAPng, ShapeMismatch, AffineMismatch,
│   │                            UnknownMaskValues, MaskNotIntegral, SegmentsOverlap, SegmentsUnknown,
│   │                            EmptyMask
│   ├── DatasetRefused           UnknownDataset, DatasetUnreadable, VolumesRefused, ArchiveRefused, UploadRefused,
│   │                            ServerFolderRefused
│   ├── ProtocolRefused, LabelSchemaRefused, BudgetRefused, ProjectSettingRefused, UnknownStrategy, CursorRefused
│   ├── SupervisionMismatch, MaskIncomplete, EmptyBody, OtherSlice, WebhookRefused, ExportRefused
│   ├── VolumeNotExportable, UnknownAblation, IdempotencyKeyRefused, IdempotencyKeyReused,
│   ├── AccountRefused, CommentMissing, PinOutside, NotAnAnnotator, SchemaVersionStale
│   └── BadBlobKey, BlobRangeOutside, StoreRefused
├── Unauthorized            401  NotSignedIn, SignInFailed, SignInNotBegun, ProviderRefused, IdentityRefused
├── Forbidden               403  RoleMissing, ScopeMissing, AdministratorOnly, NotInAnothersName, SignedByAnother,
│                                CrossSiteRequest, HostRefused, IdentityUnknown
├── NotFound                404  BlobNotFound, PlaneOutside, ProjectNotFound, RecordNotFound, NoAnnotationYet,
│                                RouteNotFound, ProviderNotConfigured, ExperimentMissing
├── NotAllowed              405  MethodRefused
├── Conflict                409  ProjectExists, PatientSplitConflict, VolumeExists, VolumeCutAlready, PackNotRebuilt,
│                                GroundTruthExists, GroundTruthMissing, RoundOpen, NothingLeft,
│                                RoundStateConflict, RoundSuperseded, RoundPending,
│                                NoModelYet, JobLostError, JobCancelled, JobFinishedError, JobNotRetryable,
│                                AddressTaken, DatabaseEncodingRefused, ResumeMismatch, ModelVersionIncomplete,
│                                NoEarlierModel,
│                                UploadIncomplete, NothingToExport, LeaseInUse, LeaseLimit, ReadingsComplete,
│                                ReadingsIncomplete, OwnWork, VersionSuperseded, RequestStillRunning,
│                                NameTaken, LastOwner, AccountsNeeded, SliceNotLeased, NoSliceWritten,
│                                SliceAccepted, SliceNotProposed, NothingToJudge, JobsAtWork, StillDeleted,
│                                BackupRefused, ProviderSettingsRefused
├── Gone                    410  LeaseGone, SliceLeasedElsewhere, SliceExcluded
├── PreconditionFailed      412  AnnotationStale, DraftStale, ProjectStale
├── TooLarge                413  ImageTooLarge, MaskTooLarge, BodyTooLarge
├── UnsupportedMedia        415  MaskTypeRefused
├── RangeNotSatisfiable     416
├── PreconditionRequired    428  AnnotationPreconditionMissing, DraftPreconditionMissing,
│                                ProjectPreconditionMissing
├── TooManyRequests         429  TooManySignIns
├── Unavailable             503  MissingExtra, BlobDamaged, StoreUnreachable, BrokerUnreachable, GpuOutOfMemory,
│                                ServiceUnreachable, ProviderUnreachable
└── RequestRefused               what a service answered to this house as its client

A class takes facts, keeps them as fields and builds its own sentence; the HTTP status of a branch stands in
`api/problems.py`.
"""

from app.errors.annotations import (
    CommentMissing as CommentMissing,
    NoSliceWritten as NoSliceWritten,
    NothingToJudge as NothingToJudge,
    PinOutside as PinOutside,
    SliceAccepted as SliceAccepted,
    SliceExcluded as SliceExcluded,
    SliceNotLeased as SliceNotLeased,
    SliceNotProposed as SliceNotProposed,
)
from app.errors.datasets import (
    ArchiveRefused as ArchiveRefused,
    BackupRefused as BackupRefused,
    BadBlobKey as BadBlobKey,
    BlobDamaged as BlobDamaged,
    BlobNotFound as BlobNotFound,
    BlobRangeOutside as BlobRangeOutside,
    DatasetRefused as DatasetRefused,
    DatasetUnreadable as DatasetUnreadable,
    PlaneOutside as PlaneOutside,
    ServerFolderRefused as ServerFolderRefused,
    StoreRefused as StoreRefused,
    StoreUnreachable as StoreUnreachable,
    UnknownDataset as UnknownDataset,
    UploadIncomplete as UploadIncomplete,
    UploadRefused as UploadRefused,
    VolumesRefused as VolumesRefused,
)
from app.errors.deletions import (
    JobsAtWork as JobsAtWork,
    StillDeleted as StillDeleted,
)
from app.errors.exports import (
    ExportRefused as ExportRefused,
    NothingToExport as NothingToExport,
    RangeNotSatisfiable as RangeNotSatisfiable,
    VolumeNotExportable as VolumeNotExportable,
)
from app.errors.images import (
    AffineMismatch as AffineMismatch,
    AxisUnclear as AxisUnclear,
    EmptyMask as EmptyMask,
    ImageRefused as ImageRefused,
    ImageTooLarge as ImageTooLarge,
    IsSegmentation as IsSegmentation,
    MaskLengthWrong as MaskLengthWrong,
    MaskNotIntegral as MaskNotIntegral,
    MaskRefused as MaskRefused,
    MaskTooLarge as MaskTooLarge,
    MissingExtra as MissingExtra,
    NonFiniteVoxel as NonFiniteVoxel,
    NotAMask as NotAMask,
    NotAnImage as NotAnImage,
    NotAPng as NotAPng,
    PixelsNotExact as PixelsNotExact,
    SegmentsOverlap as SegmentsOverlap,
    SegmentsUnknown as SegmentsUnknown,
    ShapeMismatch as ShapeMismatch,
    TruncatedImage as TruncatedImage,
    UnknownAxis as UnknownAxis,
    UnknownMaskValues as UnknownMaskValues,
    UnsupportedDtype as UnsupportedDtype,
    WrongDimensions as WrongDimensions,
)
from app.errors.jobs import (
    AddressTaken as AddressTaken,
    BrokerUnreachable as BrokerUnreachable,
    DatabaseEncodingRefused as DatabaseEncodingRefused,
    ExperimentMissing as ExperimentMissing,
    GpuOutOfMemory as GpuOutOfMemory,
    JobCancelled as JobCancelled,
    JobFinishedError as JobFinishedError,
    JobLostError as JobLostError,
    JobNotRetryable as JobNotRetryable,
    RequestRefused as RequestRefused,
    ResumeMismatch as ResumeMismatch,
    ServiceUnreachable as ServiceUnreachable,
)
from app.errors.models import (
    ModelVersionIncomplete as ModelVersionIncomplete,
    NoEarlierModel as NoEarlierModel,
)
from app.errors.oidc import (
    IdentityRefused as IdentityRefused,
    IdentityUnknown as IdentityUnknown,
    ProviderNotConfigured as ProviderNotConfigured,
    ProviderRefused as ProviderRefused,
    ProviderSettingsRefused as ProviderSettingsRefused,
    ProviderUnreachable as ProviderUnreachable,
    SignInNotBegun as SignInNotBegun,
)
from app.errors.people import (
    AccountRefused as AccountRefused,
    AccountsNeeded as AccountsNeeded,
    AdministratorOnly as AdministratorOnly,
    CrossSiteRequest as CrossSiteRequest,
    HostRefused as HostRefused,
    LastOwner as LastOwner,
    MethodRefused as MethodRefused,
    NameTaken as NameTaken,
    NotAnAnnotator as NotAnAnnotator,
    NotInAnothersName as NotInAnothersName,
    NotSignedIn as NotSignedIn,
    RoleMissing as RoleMissing,
    RouteNotFound as RouteNotFound,
    ScopeMissing as ScopeMissing,
    SignedByAnother as SignedByAnother,
    SignInFailed as SignInFailed,
    TooManySignIns as TooManySignIns,
)
from app.errors.projects import (
    BudgetRefused as BudgetRefused,
    CursorRefused as CursorRefused,
    GroundTruthExists as GroundTruthExists,
    GroundTruthMissing as GroundTruthMissing,
    LabelSchemaRefused as LabelSchemaRefused,
    PackNotRebuilt as PackNotRebuilt,
    PatientSplitConflict as PatientSplitConflict,
    ProjectExists as ProjectExists,
    ProjectNotFound as ProjectNotFound,
    ProjectPreconditionMissing as ProjectPreconditionMissing,
    ProjectSettingRefused as ProjectSettingRefused,
    ProjectStale as ProjectStale,
    ProtocolRefused as ProtocolRefused,
    RecordNotFound as RecordNotFound,
    SchemaVersionStale as SchemaVersionStale,
    UnknownAblation as UnknownAblation,
    UnknownStrategy as UnknownStrategy,
    VolumeCutAlready as VolumeCutAlready,
    VolumeExists as VolumeExists,
)
from app.errors.rounds import (
    AnnotationPreconditionMissing as AnnotationPreconditionMissing,
    AnnotationStale as AnnotationStale,
    BodyTooLarge as BodyTooLarge,
    DraftPreconditionMissing as DraftPreconditionMissing,
    DraftStale as DraftStale,
    EmptyBody as EmptyBody,
    IdempotencyKeyRefused as IdempotencyKeyRefused,
    IdempotencyKeyReused as IdempotencyKeyReused,
    LeaseGone as LeaseGone,
    LeaseInUse as LeaseInUse,
    LeaseLimit as LeaseLimit,
    MaskIncomplete as MaskIncomplete,
    MaskTypeRefused as MaskTypeRefused,
    NoAnnotationYet as NoAnnotationYet,
    NoModelYet as NoModelYet,
    NothingLeft as NothingLeft,
    OtherSlice as OtherSlice,
    OwnWork as OwnWork,
    ReadingsComplete as ReadingsComplete,
    ReadingsIncomplete as ReadingsIncomplete,
    RequestStillRunning as RequestStillRunning,
    RoundOpen as RoundOpen,
    RoundPending as RoundPending,
    RoundStateConflict as RoundStateConflict,
    RoundSuperseded as RoundSuperseded,
    SliceLeasedElsewhere as SliceLeasedElsewhere,
    SupervisionMismatch as SupervisionMismatch,
    VersionSuperseded as VersionSuperseded,
)
from app.errors.tree import (
    Conflict as Conflict,
    Forbidden as Forbidden,
    Gone as Gone,
    InvalidInput as InvalidInput,
    NextSliceError as NextSliceError,
    NotAllowed as NotAllowed,
    NotFound as NotFound,
    PreconditionFailed as PreconditionFailed,
    PreconditionRequired as PreconditionRequired,
    TooLarge as TooLarge,
    TooManyRequests as TooManyRequests,
    Unauthorized as Unauthorized,
    Unavailable as Unavailable,
    UnsupportedMedia as UnsupportedMedia,
)
from app.errors.webhooks import (
    WebhookRefused as WebhookRefused,
)
