//! A stand-in for OCI's native Object Storage REST API.
//!
//! It speaks what the official SDKs speak: signed requests, multipart uploads, pre-authenticated
//! requests, the documented errors. It keeps what it is given on disk and across restarts. It is
//! believed only because clients that nobody here wrote work against it (`tests/oci_*.rs`), and it
//! knows nothing of the product.
//!
//! The way of a request is in `service`; `route` says what it is, `auth` and `keys` whether it is
//! genuine, `policy` whether it is allowed, `faults` whether it is spoilt (and `mangle` how its
//! body is); `objects`, `multipart` and `pars` carry it out; `store` remembers; `blob`, `checksum`
//! and `md5_lanes` keep the bytes. `connection` is the listener, `traffic` counts; `admin` and
//! `inspect` are for tests.

mod admin;
mod auth;
mod blob;
mod checksum;
mod conditions;
mod error;
mod faults;
mod inspect;
mod keys;
mod mangle;
mod md5_lanes;
mod model;
mod multipart;
mod names;
mod objects;
mod options;
mod pars;
mod policy;
mod request;
mod route;
mod service;
mod store;
mod traffic;

use std::fmt::Debug;
use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use axum::Router;
use axum::http::HeaderValue;
use axum::routing::any;
use axum::serve::Listener;
use jiff::{SignedDuration, Timestamp};
use tokio_util::task::TaskTracker;

use crate::connection::{Connection, Paced, Rate};
use blob::Blobs;
use error::ApiError;
use faults::Faults;
use keys::{Keyring, OwnKey};
use model::Bucket;
use policy::Policy;
use route::Call;
use store::{Change, Store};
use traffic::Ledger;

pub use faults::{Effect, Fault};
pub use inspect::{ClientConfig, ObjectSummary, ParSummary, PartSummary, UploadSummary};
pub use keys::KeyError;
pub use options::{Keeping, OpenError, Options};
pub use policy::Permission;
pub use route::Operation;
pub use traffic::{BodyTraffic, OperationTraffic, Traffic};

/// The service. Cheap to clone; clones are the same service.
#[derive(Clone, Debug)]
pub struct ObjectStorage {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    options: Options,
    key: OwnKey,
    keys: Keyring,
    public_url: RwLock<Option<String>>,
    store: Store,
    blobs: Blobs,
    faults: Faults,
    traffic: Ledger,
    policy: Policy,
    rate: Rate,
    /// How far the service's clock is ahead of the machine's, in seconds.
    clock_offset: AtomicI64,
    tasks: TaskTracker,
}

impl ObjectStorage {
    /// Opens the service that is kept in `dir`, or a new one.
    ///
    /// # Errors
    /// If the folder or what is in it cannot be used.
    pub fn open(dir: impl Into<PathBuf>, options: Options) -> Result<Self, OpenError> {
        let dir = dir.into();
        let blobs = Blobs::open(&dir.join("data"), options.keeping)?;
        let key = OwnKey::load_or_generate(&dir)?;
        let keys = Keyring::default();
        let key_id = format!("{}/{}/{}", options.tenancy, options.user, key.fingerprint);
        keys.register(key_id, key.public_der.clone());
        let tasks = TaskTracker::new();
        let storage = Self {
            inner: Arc::new(Inner {
                public_url: RwLock::new(options.public_url.clone()),
                store: Store::open(&dir, blobs.clone(), tasks.clone())?,
                options,
                key,
                keys,
                blobs,
                faults: Faults::default(),
                traffic: Ledger::default(),
                policy: Policy::default(),
                rate: Rate::default(),
                clock_offset: AtomicI64::new(0),
                tasks,
            }),
        };
        for name in &storage.inner.options.buckets {
            let exists = storage
                .store()
                .read(|state| state.buckets.contains_key(name));
            if !exists {
                storage.create_bucket(name)?;
            }
        }
        Ok(storage)
    }

    /// The native API, links included. Served otherwise than by [`Self::serve`] it has neither
    /// paced connections nor lost replies.
    pub fn router(&self) -> Router {
        Router::new()
            .route("/n", any(service::serve))
            .route("/n/", any(service::serve))
            .route("/n/{*rest}", any(service::serve))
            .route("/p/{*rest}", any(service::serve))
            .with_state(self.clone())
    }

    /// The admin API, to be mounted at `/oci`: `GET /config`, `POST /buckets {"name"}`,
    /// `GET /objects`, `GET /uploads`, `POST /uploads/expire {"uploadId"}`, `GET /pars`,
    /// `POST /pars/expire {"id"}`, `POST /keys {"keyId","publicKey"}`,
    /// `PUT /keys/disabled ["tenancy/user/fingerprint"]`, `GET|POST|DELETE /faults`,
    /// `PUT /permissions/withheld ["PAR_MANAGE"]`, `PUT /connection-rate {"bytesPerSecond"}`,
    /// `PUT /latency {"milliseconds"}`, `PUT /clock {"offsetSeconds"}`, `GET|DELETE /traffic`.
    pub fn admin_router(&self) -> Router {
        admin::router(self.clone())
    }

    /// Serves the native API on `listener` until `shutdown`, then until its last request is
    /// answered.
    ///
    /// # Errors
    /// If the listener fails.
    pub async fn serve(
        &self,
        listener: impl Listener<Addr: Debug>,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> io::Result<()> {
        let listener = Paced::new(listener, self.inner.rate.clone());
        let service = self
            .router()
            .into_make_service_with_connect_info::<Connection>();
        axum::serve(listener, service)
            .with_graceful_shutdown(shutdown)
            .await?;
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
        Ok(())
    }

    /// Sets what `fullPath` of a new link starts with, and what [`Self::client_config`] tells as
    /// the endpoint.
    pub fn set_public_url(&self, url: impl Into<String>) {
        let url = url.into().trim_end_matches('/').to_owned();
        *self
            .inner
            .public_url
            .write()
            .unwrap_or_else(PoisonError::into_inner) = Some(url);
    }

    /// Makes an empty bucket.
    ///
    /// # Errors
    /// If there is one of that name, or the name is not allowed.
    pub fn create_bucket(&self, name: &str) -> Result<(), OpenError> {
        self.add_bucket(name)
            .map_err(|error| OpenError::Bucket(error.to_string()))
    }

    /// Lets requests be signed with another key: `key_id` is all of the signature's `keyId`, be
    /// it `tenancy/user/fingerprint` or `ST$token`; `public_key` is PEM (`PUBLIC KEY`). It is
    /// forgotten when the process ends.
    ///
    /// # Errors
    /// If `public_key` is not PEM.
    pub fn register_key(&self, key_id: &str, public_key: &str) -> Result<(), KeyError> {
        let der = keys::public_der(public_key)?;
        self.inner.keys.register(key_id.to_owned(), der);
        Ok(())
    }

    /// Makes something go wrong.
    pub fn add_fault(&self, fault: Fault) {
        self.inner.faults.add(fault);
    }

    /// What lands late and has not landed yet does so now.
    pub fn land_now(&self) {
        self.inner.faults.land_now();
    }

    /// Forgets all faults.
    pub fn clear_faults(&self) {
        self.inner.faults.clear();
    }

    /// The faults that have not been used up.
    pub fn waiting_faults(&self) -> Vec<Fault> {
        self.inner.faults.waiting()
    }

    /// Withholds exactly these permissions from the principal, and from its links.
    pub fn withhold(&self, permissions: &[Permission]) {
        self.inner.policy.withhold(permissions);
    }

    /// Limits each connection of [`Self::serve`], in bytes a second and direction.
    pub fn set_connection_rate(&self, bytes_per_second: Option<u64>) {
        self.inner.rate.set(bytes_per_second);
    }

    /// Makes every request take so much longer.
    pub fn set_latency(&self, latency: Duration) {
        self.inner.faults.set_latency(latency);
    }

    /// Sets the service's clock ahead of the machine's, or behind it, if negative.
    pub fn set_clock_offset(&self, seconds: i64) {
        self.inner.clock_offset.store(seconds, Ordering::Relaxed);
    }

    /// Disables exactly these keys, named as in [`Self::register_key`]; nothing that they sign is
    /// believed.
    pub fn disable_keys(&self, key_ids: &[&str]) {
        self.inner.keys.disable(key_ids);
    }

    /// What came in so far.
    pub fn traffic(&self) -> Traffic {
        self.inner.traffic.report()
    }

    /// Counts from nothing again what comes in.
    pub fn reset_traffic(&self) {
        self.inner.traffic.reset();
    }

    /// Aborts an upload, as a life-cycle rule does. Returns whether there is one of that id.
    pub fn expire_upload(&self, upload_id: &str) -> bool {
        let expired = self.store().write(|state| {
            let mut buckets = state.buckets.iter();
            let holder = buckets.find(|(_, bucket)| bucket.uploads.contains_key(upload_id));
            let (bucket, _) = holder.ok_or_else(|| ApiError::upload_not_found(upload_id))?;
            let change = Change::UploadAborted {
                bucket: bucket.clone(),
                upload_id: upload_id.to_owned(),
            };
            Ok((change, ()))
        });
        expired.is_ok()
    }

    /// Lets a pre-authenticated request expire now. Returns whether there is one of that id.
    pub fn expire_par(&self, id: &str) -> bool {
        let expired = self.store().write(|state| {
            let buckets = state.buckets.iter();
            let holder = buckets
                .map(|(name, bucket)| (name, bucket.pars.contains_key(id)))
                .find(|(_, holds)| *holds);
            let (bucket, _) = holder.ok_or_else(|| ApiError::par_not_found(id))?;
            let change = Change::ParExpired {
                bucket: bucket.clone(),
                id: id.to_owned(),
                at: Timestamp::now(),
            };
            Ok((change, ()))
        });
        expired.is_ok()
    }

    fn add_bucket(&self, name: &str) -> Result<(), ApiError> {
        names::check_bucket_name(name)?;
        self.store().write(|state| {
            if state.buckets.contains_key(name) {
                return Err(ApiError::bucket_exists(name));
            }
            let change = Change::BucketCreated {
                bucket: name.to_owned(),
                etag: names::uuid(),
                created: Timestamp::now(),
            };
            Ok((change, ()))
        })
    }

    /// Looks at the bucket of a call.
    fn bucket<T>(&self, call: &Call, look: impl FnOnce(&Bucket) -> T) -> Result<T, ApiError> {
        self.store()
            .read(|state| match state.buckets.get(&call.bucket) {
                Some(bucket) => Ok(look(bucket)),
                None => Err(ApiError::bucket_not_found(&call.namespace, &call.bucket)),
            })
    }

    /// Looks at the bucket of a call and changes it, with nothing in between.
    fn change_bucket<T>(
        &self,
        call: &Call,
        decide: impl FnOnce(&Bucket, &str) -> Result<(Change, T), ApiError>,
    ) -> Result<T, ApiError> {
        self.store()
            .write(|state| match state.buckets.get(&call.bucket) {
                Some(bucket) => decide(bucket, &call.bucket),
                None => Err(ApiError::bucket_not_found(&call.namespace, &call.bucket)),
            })
    }

    /// What links and the endpoint start with; `host` is that of the request at hand.
    fn public_url(&self, host: &str) -> String {
        let url = self
            .inner
            .public_url
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        match (&*url, host) {
            (Some(url), _) => url.clone(),
            (None, "") => String::new(),
            (None, host) => format!("http://{host}"),
        }
    }

    fn namespace(&self) -> &str {
        &self.inner.options.namespace
    }

    fn region(&self) -> &str {
        &self.inner.options.region
    }

    fn tenancy(&self) -> &str {
        &self.inner.options.tenancy
    }

    fn user(&self) -> &str {
        &self.inner.options.user
    }

    fn first_bucket(&self) -> &str {
        self.inner
            .options
            .buckets
            .first()
            .map_or("", String::as_str)
    }

    fn page_limit(&self) -> usize {
        self.inner.options.page_limit
    }

    fn minimum_part_size(&self) -> Option<u64> {
        self.inner.options.minimum_part_size
    }

    fn own_key(&self) -> &OwnKey {
        &self.inner.key
    }

    fn keys(&self) -> &Keyring {
        &self.inner.keys
    }

    fn store(&self) -> &Store {
        &self.inner.store
    }

    fn blobs(&self) -> &Blobs {
        &self.inner.blobs
    }

    /// The service's time.
    fn clock(&self) -> Timestamp {
        let offset = self.inner.clock_offset.load(Ordering::Relaxed);
        let shifted = Timestamp::now().checked_add(SignedDuration::from_secs(offset));
        shifted.unwrap_or(Timestamp::MAX)
    }

    /// The service's time, as a header tells it.
    fn http_date(&self) -> HeaderValue {
        let date = request::http_date(self.clock());
        HeaderValue::try_from(date).unwrap_or_else(|_| HeaderValue::from_static(""))
    }

    fn traffic_ledger(&self) -> &Ledger {
        &self.inner.traffic
    }

    fn faults(&self) -> &Faults {
        &self.inner.faults
    }

    fn policy(&self) -> &Policy {
        &self.inner.policy
    }

    fn tasks(&self) -> &TaskTracker {
        &self.inner.tasks
    }
}
