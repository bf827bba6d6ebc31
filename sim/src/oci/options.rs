//! How the service is set up, and why it may not start.

use std::io;

use super::keys::KeyError;

/// How the service is set up.
#[derive(Clone, Debug)]
pub struct Options {
    /// The Object Storage namespace of the tenancy.
    pub namespace: String,
    /// The region, a part of every request id.
    pub region: String,
    /// Buckets made at the start if they do not exist.
    pub buckets: Vec<String>,
    /// OCID of the tenancy.
    pub tenancy: String,
    /// OCID of the user whose key signs.
    pub user: String,
    /// What `fullPath` of a new link starts with, such as `http://127.0.0.1:4000`. Without it the
    /// `Host` of the request is taken.
    pub public_url: Option<String>,
    /// The least size of a part other than the last. The documentation contradicts itself about
    /// one, so there is none by default.
    pub minimum_part_size: Option<u64>,
    /// The most entries a page of a listing has.
    pub page_limit: usize,
    /// What is kept of the bytes.
    pub keeping: Keeping,
}

/// What is kept of the bytes of objects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Keeping {
    /// All of them, on disk.
    #[default]
    Everything,
    /// Their lengths and checksums, for measurements: bytes are compared with what the client
    /// says of them and forgotten. Reading an object is 404 `ObjectNotFound`.
    Checksums,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            namespace: "telestream".to_owned(),
            region: "us-ashburn-1".to_owned(),
            buckets: vec!["files".to_owned()],
            tenancy: "ocid1.tenancy.oc1..aaaaaaaatelestreamsim".to_owned(),
            user: "ocid1.user.oc1..aaaaaaaatelestreamsim".to_owned(),
            public_url: None,
            minimum_part_size: None,
            page_limit: 1000,
            keeping: Keeping::default(),
        }
    }
}

/// Why the service could not start.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The folder, or what is kept in it, could not be read or written.
    #[error("the folder of the object storage")]
    Folder(#[from] io::Error),
    /// The key pair could not be made or read.
    #[error("the key pair of the object storage")]
    Key(#[from] KeyError),
    /// A bucket of the options cannot be made.
    #[error("{0}")]
    Bucket(String),
}
