//! OCI Object Storage: request signing, credentials, and the client of objects, multipart
//! uploads and pre-authenticated requests (PARs).
//!
//! The way in is [`ObjectStorage`]; what it needs is a set of [`Credentials`] and an
//! [`Endpoint`]. Names are parsed once, at the edge, into the types of [`names`]. The module
//! speaks HTTP to Object Storage and reads credential files; it knows nothing of Telegram,
//! Kubernetes or the queue, keeps no state of a transfer, and never buffers the body of an object.
//!
//! No error, log line or `Debug` of this module shows a link, a key, a pass phrase or a token.

mod body;
mod client;
mod config_file;
mod credentials;
mod endpoint;
mod error;
mod links;
mod names;
mod objects;
mod operation;
mod pages;
mod private_key;
mod retry;
mod signer;
mod uploads;

#[cfg(test)]
mod testing;

pub use client::{ObjectStorage, Settings, Timeouts};
pub use config_file::default_path as default_config_path;
pub use credentials::{ApiKey, Credentials, Renewal};
pub use endpoint::{Endpoint, LinkBase, Region};
pub use error::{Deviation, Error, Result, ServiceCode, ServiceError, Waiting};
pub use links::{NewPar, Par, ParSummary};
pub use names::{
    BucketName, Crc32c, Etag, Namespace, ObjectName, ParId, PartNumber, SecretUrl, UploadId,
};
pub use objects::{Existing, NewObject, ObjectHead, Removal, StorageTier, StoredObject};
pub use operation::Operation;
pub use private_key::PrivateKeyError;
pub use retry::RetryPolicy;
pub use signer::Signer;
pub use uploads::{PartSummary, StoredPart, Upload, UploadSummary};
