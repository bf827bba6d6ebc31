//! What is in the service, told to tests and to the admin API without signatures or pages.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::ObjectStorage;
use super::checksum::crc32c_base64;
use super::request::json_time;

/// What a client needs to reach the service: the fields of an OCI configuration file, and more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClientConfig {
    /// OCID of the tenancy.
    pub tenancy: String,
    /// OCID of the user.
    pub user: String,
    /// MD5 of the user's public key in colon-separated hexadecimal.
    pub fingerprint: String,
    /// The region.
    pub region: String,
    /// The Object Storage namespace.
    pub namespace: String,
    /// The first bucket of the options.
    pub bucket: String,
    /// Where the service listens, without a slash at the end; empty before it is known.
    pub endpoint: String,
    /// The user's private key: PEM, PKCS#8, not encrypted.
    pub private_key: String,
}

/// An object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectSummary {
    /// The bucket.
    pub bucket: String,
    /// The name.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// The entity tag.
    pub etag: String,
    /// The MD5 it is listed with, base64; with `-N` for an object of N parts.
    pub md5: String,
    /// CRC32C of the bytes, base64, whether or not the client asked for one.
    pub crc32c: String,
    /// The content type.
    pub content_type: Option<String>,
    /// The content disposition.
    pub content_disposition: Option<String>,
    /// The metadata, without `opc-meta-`.
    pub metadata: BTreeMap<String, String>,
    /// RFC 3339, UTC.
    pub time_created: String,
}

/// An upload that is neither committed nor aborted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UploadSummary {
    /// The bucket.
    pub bucket: String,
    /// The object it will become.
    pub object: String,
    /// The upload's id.
    pub upload_id: String,
    /// Its parts, ascending.
    pub parts: Vec<PartSummary>,
}

/// A part of an upload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PartSummary {
    /// 1 to 10,000.
    pub part_number: u16,
    /// Bytes.
    pub size: u64,
    /// The entity tag.
    pub etag: String,
}

/// A pre-authenticated request, without its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ParSummary {
    /// The bucket.
    pub bucket: String,
    /// The id.
    pub id: String,
    /// The name its creator gave it.
    pub name: String,
    /// The object, or a prefix of names, or nothing.
    pub object_name: Option<String>,
    /// RFC 3339, UTC.
    pub time_expires: String,
}

impl ObjectStorage {
    /// How a client reaches the service.
    pub fn client_config(&self) -> ClientConfig {
        let key = self.own_key();
        ClientConfig {
            tenancy: self.tenancy().to_owned(),
            user: self.user().to_owned(),
            fingerprint: key.fingerprint.clone(),
            region: self.region().to_owned(),
            namespace: self.namespace().to_owned(),
            bucket: self.first_bucket().to_owned(),
            endpoint: self.public_url(""),
            private_key: key.private_pem.clone(),
        }
    }

    /// All objects, by bucket and name.
    pub fn objects(&self) -> Vec<ObjectSummary> {
        self.store().read(|state| {
            let buckets = state.buckets.iter();
            let objects = buckets.flat_map(|(bucket, content)| {
                content.objects.values().map(move |object| ObjectSummary {
                    bucket: bucket.clone(),
                    name: object.name.as_str().to_owned(),
                    size: object.size,
                    etag: object.etag.clone(),
                    md5: object.md5.as_str().to_owned(),
                    crc32c: crc32c_base64(object.crc32c),
                    content_type: object.presentation.content_type.clone(),
                    content_disposition: object.presentation.content_disposition.clone(),
                    metadata: object.presentation.metadata.clone(),
                    time_created: json_time(object.created),
                })
            });
            objects.collect()
        })
    }

    /// All uploads, by bucket and id.
    pub fn uploads(&self) -> Vec<UploadSummary> {
        self.store().read(|state| {
            let buckets = state.buckets.iter();
            let uploads = buckets.flat_map(|(bucket, content)| {
                content.uploads.values().map(move |upload| UploadSummary {
                    bucket: bucket.clone(),
                    object: upload.object.as_str().to_owned(),
                    upload_id: upload.id.clone(),
                    parts: upload
                        .parts
                        .values()
                        .map(|part| PartSummary {
                            part_number: part.number.get(),
                            size: part.extent.length,
                            etag: part.etag.clone(),
                        })
                        .collect(),
                })
            });
            uploads.collect()
        })
    }

    /// All pre-authenticated requests, by bucket and id; expired ones too, as in the service.
    pub fn pars(&self) -> Vec<ParSummary> {
        self.store().read(|state| {
            let buckets = state.buckets.iter();
            let pars = buckets.flat_map(|(bucket, content)| {
                content.pars.values().map(move |par| ParSummary {
                    bucket: bucket.clone(),
                    id: par.id.clone(),
                    name: par.name.clone(),
                    object_name: par.object_name.clone(),
                    time_expires: json_time(par.expires),
                })
            });
            pars.collect()
        })
    }
}
