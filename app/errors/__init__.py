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
│                                RouteNotFound, ProviderNotConfigured
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
)
from app.errors.annotations import (
    NoSliceWritten as NoSliceWritten,
)
from app.errors.annotations import (
    NothingToJudge as NothingToJudge,
)
from app.errors.annotations import (
    PinOutside as PinOutside,
)
from app.errors.annotations import (
    SliceAccepted as SliceAccepted,
)
from app.errors.annotations import (
    SliceExcluded as SliceExcluded,
)
from app.errors.annotations import (
    SliceNotLeased as SliceNotLeased,
)
from app.errors.annotations import (
    SliceNotProposed as SliceNotProposed,
)
from app.errors.datasets import (
    ArchiveRefused as ArchiveRefused,
)
from app.errors.datasets import (
    BackupRefused as BackupRefused,
)
from app.errors.datasets import (
    BadBlobKey as BadBlobKey,
)
from app.errors.datasets import (
    BlobDamaged as BlobDamaged,
)
from app.errors.datasets import (
    BlobNotFound as BlobNotFound,
)
from app.errors.datasets import (
    BlobRangeOutside as BlobRangeOutside,
)
from app.errors.datasets import (
    DatasetRefused as DatasetRefused,
)
from app.errors.datasets import (
    DatasetUnreadable as DatasetUnreadable,
)
from app.errors.datasets import (
    PlaneOutside as PlaneOutside,
)
from app.errors.datasets import (
    ServerFolderRefused as ServerFolderRefused,
)
from app.errors.datasets import (
    StoreRefused as StoreRefused,
)
from app.errors.datasets import (
    StoreUnreachable as StoreUnreachable,
)
from app.errors.datasets import (
    UnknownDataset as UnknownDataset,
)
from app.errors.datasets import (
    UploadIncomplete as UploadIncomplete,
)
from app.errors.datasets import (
    UploadRefused as UploadRefused,
)
from app.errors.datasets import (
    VolumesRefused as VolumesRefused,
)
from app.errors.deletions import (
    JobsAtWork as JobsAtWork,
)
from app.errors.deletions import (
    StillDeleted as StillDeleted,
)
from app.errors.exports import (
    ExportRefused as ExportRefused,
)
from app.errors.exports import (
    NothingToExport as NothingToExport,
)
from app.errors.exports import (
    RangeNotSatisfiable as RangeNotSatisfiable,
)
from app.errors.exports import (
    VolumeNotExportable as VolumeNotExportable,
)
from app.errors.images import (
    AffineMismatch as AffineMismatch,
)
from app.errors.images import (
    AxisUnclear as AxisUnclear,
)
from app.errors.images import (
    EmptyMask as EmptyMask,
)
from app.errors.images import (
    ImageRefused as ImageRefused,
)
from app.errors.images import (
    ImageTooLarge as ImageTooLarge,
)
from app.errors.images import (
    IsSegmentation as IsSegmentation,
)
from app.errors.images import (
    MaskLengthWrong as MaskLengthWrong,
)
from app.errors.images import (
    MaskNotIntegral as MaskNotIntegral,
)
from app.errors.images import (
    MaskRefused as MaskRefused,
)
from app.errors.images import (
    MaskTooLarge as MaskTooLarge,
)
from app.errors.images import (
    MissingExtra as MissingExtra,
)
from app.errors.images import (
    NonFiniteVoxel as NonFiniteVoxel,
)
from app.errors.images import (
    NotAMask as NotAMask,
)
from app.errors.images import (
    NotAnImage as NotAnImage,
)
from app.errors.images import (
    NotAPng as NotAPng,
)
from app.errors.images import (
    PixelsNotExact as PixelsNotExact,
)
from app.errors.images import (
    SegmentsOverlap as SegmentsOverlap,
)
from app.errors.images import (
    SegmentsUnknown as SegmentsUnknown,
)
from app.errors.images import (
    ShapeMismatch as ShapeMismatch,
)
from app.errors.images import (
    TruncatedImage as TruncatedImage,
)
from app.errors.images import (
    UnknownAxis as UnknownAxis,
)
from app.errors.images import (
    UnknownMaskValues as UnknownMaskValues,
)
from app.errors.images import (
    UnsupportedDtype as UnsupportedDtype,
)
from app.errors.images import (
    WrongDimensions as WrongDimensions,
)
from app.errors.jobs import (
    AddressTaken as AddressTaken,
)
from app.errors.jobs import (
    BrokerUnreachable as BrokerUnreachable,
)
from app.errors.jobs import (
    DatabaseEncodingRefused as DatabaseEncodingRefused,
)
from app.errors.jobs import (
    GpuOutOfMemory as GpuOutOfMemory,
)
from app.errors.jobs import (
    JobCancelled as JobCancelled,
)
from app.errors.jobs import (
    JobFinishedError as JobFinishedError,
)
from app.errors.jobs import (
    JobLostError as JobLostError,
)
from app.errors.jobs import (
    JobNotRetryable as JobNotRetryable,
)
from app.errors.jobs import (
    RequestRefused as RequestRefused,
)
from app.errors.jobs import (
    ResumeMismatch as ResumeMismatch,
)
from app.errors.jobs import (
    ServiceUnreachable as ServiceUnreachable,
)
from app.errors.models import (
    ModelVersionIncomplete as ModelVersionIncomplete,
)
from app.errors.models import (
    NoEarlierModel as NoEarlierModel,
)
from app.errors.oidc import (
    IdentityRefused as IdentityRefused,
)
from app.errors.oidc import (
    IdentityUnknown as IdentityUnknown,
)
from app.errors.oidc import (
    ProviderNotConfigured as ProviderNotConfigured,
)
from app.errors.oidc import (
    ProviderRefused as ProviderRefused,
)
from app.errors.oidc import (
    ProviderSettingsRefused as ProviderSettingsRefused,
)
from app.errors.oidc import (
    ProviderUnreachable as ProviderUnreachable,
)
from app.errors.oidc import (
    SignInNotBegun as SignInNotBegun,
)
from app.errors.people import (
    AccountRefused as AccountRefused,
)
from app.errors.people import (
    AccountsNeeded as AccountsNeeded,
)
from app.errors.people import (
    AdministratorOnly as AdministratorOnly,
)
from app.errors.people import (
    CrossSiteRequest as CrossSiteRequest,
)
from app.errors.people import (
    HostRefused as HostRefused,
)
from app.errors.people import (
    LastOwner as LastOwner,
)
from app.errors.people import (
    MethodRefused as MethodRefused,
)
from app.errors.people import (
    NameTaken as NameTaken,
)
from app.errors.people import (
    NotAnAnnotator as NotAnAnnotator,
)
from app.errors.people import (
    NotInAnothersName as NotInAnothersName,
)
from app.errors.people import (
    NotSignedIn as NotSignedIn,
)
from app.errors.people import (
    RoleMissing as RoleMissing,
)
from app.errors.people import (
    RouteNotFound as RouteNotFound,
)
from app.errors.people import (
    ScopeMissing as ScopeMissing,
)
from app.errors.people import (
    SignedByAnother as SignedByAnother,
)
from app.errors.people import (
    SignInFailed as SignInFailed,
)
from app.errors.people import (
    TooManySignIns as TooManySignIns,
)
from app.errors.projects import (
    BudgetRefused as BudgetRefused,
)
from app.errors.projects import (
    CursorRefused as CursorRefused,
)
from app.errors.projects import (
    GroundTruthExists as GroundTruthExists,
)
from app.errors.projects import (
    GroundTruthMissing as GroundTruthMissing,
)
from app.errors.projects import (
    LabelSchemaRefused as LabelSchemaRefused,
)
from app.errors.projects import (
    PackNotRebuilt as PackNotRebuilt,
)
from app.errors.projects import (
    PatientSplitConflict as PatientSplitConflict,
)
from app.errors.projects import (
    ProjectExists as ProjectExists,
)
from app.errors.projects import (
    ProjectNotFound as ProjectNotFound,
)
from app.errors.projects import (
    ProjectPreconditionMissing as ProjectPreconditionMissing,
)
from app.errors.projects import (
    ProjectSettingRefused as ProjectSettingRefused,
)
from app.errors.projects import (
    ProjectStale as ProjectStale,
)
from app.errors.projects import (
    ProtocolRefused as ProtocolRefused,
)
from app.errors.projects import (
    RecordNotFound as RecordNotFound,
)
from app.errors.projects import (
    SchemaVersionStale as SchemaVersionStale,
)
from app.errors.projects import (
    UnknownAblation as UnknownAblation,
)
from app.errors.projects import (
    UnknownStrategy as UnknownStrategy,
)
from app.errors.projects import (
    VolumeCutAlready as VolumeCutAlready,
)
from app.errors.projects import (
    VolumeExists as VolumeExists,
)
from app.errors.rounds import (
    AnnotationPreconditionMissing as AnnotationPreconditionMissing,
)
from app.errors.rounds import (
    AnnotationStale as AnnotationStale,
)
from app.errors.rounds import (
    BodyTooLarge as BodyTooLarge,
)
from app.errors.rounds import (
    DraftPreconditionMissing as DraftPreconditionMissing,
)
from app.errors.rounds import (
    DraftStale as DraftStale,
)
from app.errors.rounds import (
    EmptyBody as EmptyBody,
)
from app.errors.rounds import (
    IdempotencyKeyRefused as IdempotencyKeyRefused,
)
from app.errors.rounds import (
    IdempotencyKeyReused as IdempotencyKeyReused,
)
from app.errors.rounds import (
    LeaseGone as LeaseGone,
)
from app.errors.rounds import (
    LeaseInUse as LeaseInUse,
)
from app.errors.rounds import (
    LeaseLimit as LeaseLimit,
)
from app.errors.rounds import (
    MaskIncomplete as MaskIncomplete,
)
from app.errors.rounds import (
    MaskTypeRefused as MaskTypeRefused,
)
from app.errors.rounds import (
    NoAnnotationYet as NoAnnotationYet,
)
from app.errors.rounds import (
    NoModelYet as NoModelYet,
)
from app.errors.rounds import (
    NothingLeft as NothingLeft,
)
from app.errors.rounds import (
    OtherSlice as OtherSlice,
)
from app.errors.rounds import (
    OwnWork as OwnWork,
)
from app.errors.rounds import (
    ReadingsComplete as ReadingsComplete,
)
from app.errors.rounds import (
    ReadingsIncomplete as ReadingsIncomplete,
)
from app.errors.rounds import (
    RequestStillRunning as RequestStillRunning,
)
from app.errors.rounds import (
    RoundOpen as RoundOpen,
)
from app.errors.rounds import (
    RoundPending as RoundPending,
)
from app.errors.rounds import (
    RoundStateConflict as RoundStateConflict,
)
from app.errors.rounds import (
    RoundSuperseded as RoundSuperseded,
)
from app.errors.rounds import (
    SliceLeasedElsewhere as SliceLeasedElsewhere,
)
from app.errors.rounds import (
    SupervisionMismatch as SupervisionMismatch,
)
from app.errors.rounds import (
    VersionSuperseded as VersionSuperseded,
)
from app.errors.tree import (
    Conflict as Conflict,
)
from app.errors.tree import (
    Forbidden as Forbidden,
)
from app.errors.tree import (
    Gone as Gone,
)
from app.errors.tree import (
    InvalidInput as InvalidInput,
)
from app.errors.tree import (
    NextSliceError as NextSliceError,
)
from app.errors.tree import (
    NotAllowed as NotAllowed,
)
from app.errors.tree import (
    NotFound as NotFound,
)
from app.errors.tree import (
    PreconditionFailed as PreconditionFailed,
)
from app.errors.tree import (
    PreconditionRequired as PreconditionRequired,
)
from app.errors.tree import (
    TooLarge as TooLarge,
)
from app.errors.tree import (
    TooManyRequests as TooManyRequests,
)
from app.errors.tree import (
    Unauthorized as Unauthorized,
)
from app.errors.tree import (
    Unavailable as Unavailable,
)
from app.errors.tree import (
    UnsupportedMedia as UnsupportedMedia,
)
from app.errors.webhooks import (
    WebhookRefused as WebhookRefused,
)
