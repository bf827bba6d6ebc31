//! OCI Object Storage: request signing, credentials, and the client of objects and links.
