//! The admin API: what tests and the demo see and arrange, over HTTP and without authentication.
//! It is no part of the service, and is mounted where clients of the service do not come.

use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post, put};
use axum::{Json, Router};
use serde::Deserialize;

use super::ObjectStorage;
use super::error::ApiError;
use super::faults::Fault;
use super::inspect::{ClientConfig, ObjectSummary, ParSummary, UploadSummary};
use super::policy::Permission;
use super::traffic::Traffic;

pub(super) fn router(storage: ObjectStorage) -> Router {
    Router::new()
        .route("/config", get(config))
        .route("/buckets", post(create_bucket))
        .route("/objects", get(objects))
        .route("/uploads", get(uploads))
        .route("/uploads/expire", post(expire_upload))
        .route("/pars", get(pars))
        .route("/pars/expire", post(expire_par))
        .route("/keys", post(register_key))
        .route("/keys/disabled", put(disable_keys))
        .route("/faults", get(faults).post(add_fault).delete(clear_faults))
        .route("/permissions/withheld", put(withhold))
        .route("/connection-rate", put(set_rate))
        .route("/latency", put(set_latency))
        .route("/clock", put(set_clock))
        .route("/traffic", get(traffic).delete(reset_traffic))
        .with_state(storage)
}

async fn config(State(storage): State<ObjectStorage>) -> Json<ClientConfig> {
    Json(storage.client_config())
}

#[derive(Deserialize)]
struct NewBucket {
    name: String,
}

async fn create_bucket(
    State(storage): State<ObjectStorage>,
    Json(bucket): Json<NewBucket>,
) -> Result<StatusCode, ApiError> {
    storage.add_bucket(&bucket.name)?;
    Ok(StatusCode::CREATED)
}

async fn objects(State(storage): State<ObjectStorage>) -> Json<Vec<ObjectSummary>> {
    Json(storage.objects())
}

async fn uploads(State(storage): State<ObjectStorage>) -> Json<Vec<UploadSummary>> {
    Json(storage.uploads())
}

async fn pars(State(storage): State<ObjectStorage>) -> Json<Vec<ParSummary>> {
    Json(storage.pars())
}

#[derive(Deserialize)]
struct ParId {
    id: String,
}

async fn expire_par(
    State(storage): State<ObjectStorage>,
    Json(par): Json<ParId>,
) -> Result<StatusCode, ApiError> {
    if storage.expire_par(&par.id) {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(ApiError::par_not_found(&par.id))
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct UploadId {
    upload_id: String,
}

async fn expire_upload(
    State(storage): State<ObjectStorage>,
    Json(upload): Json<UploadId>,
) -> Result<StatusCode, ApiError> {
    if storage.expire_upload(&upload.upload_id) {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(ApiError::upload_not_found(&upload.upload_id))
    }
}

async fn disable_keys(
    State(storage): State<ObjectStorage>,
    Json(key_ids): Json<Vec<String>>,
) -> StatusCode {
    let key_ids: Vec<&str> = key_ids.iter().map(String::as_str).collect();
    storage.disable_keys(&key_ids);
    StatusCode::NO_CONTENT
}

#[derive(Deserialize)]
struct Latency {
    milliseconds: u64,
}

async fn set_latency(
    State(storage): State<ObjectStorage>,
    Json(latency): Json<Latency>,
) -> StatusCode {
    storage.set_latency(Duration::from_millis(latency.milliseconds));
    StatusCode::NO_CONTENT
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Clock {
    offset_seconds: i64,
}

async fn set_clock(State(storage): State<ObjectStorage>, Json(clock): Json<Clock>) -> StatusCode {
    storage.set_clock_offset(clock.offset_seconds);
    StatusCode::NO_CONTENT
}

async fn traffic(State(storage): State<ObjectStorage>) -> Json<Traffic> {
    Json(storage.traffic())
}

async fn reset_traffic(State(storage): State<ObjectStorage>) -> StatusCode {
    storage.reset_traffic();
    StatusCode::NO_CONTENT
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct NewKey {
    key_id: String,
    public_key: String,
}

async fn register_key(
    State(storage): State<ObjectStorage>,
    Json(key): Json<NewKey>,
) -> Result<StatusCode, ApiError> {
    storage
        .register_key(&key.key_id, &key.public_key)
        .map_err(|error| ApiError::invalid_parameter(error.to_string()))?;
    Ok(StatusCode::CREATED)
}

async fn faults(State(storage): State<ObjectStorage>) -> Json<Vec<Fault>> {
    Json(storage.waiting_faults())
}

async fn add_fault(State(storage): State<ObjectStorage>, Json(fault): Json<Fault>) -> StatusCode {
    storage.add_fault(fault);
    StatusCode::CREATED
}

async fn clear_faults(State(storage): State<ObjectStorage>) -> StatusCode {
    storage.clear_faults();
    StatusCode::NO_CONTENT
}

async fn withhold(
    State(storage): State<ObjectStorage>,
    Json(permissions): Json<Vec<Permission>>,
) -> StatusCode {
    storage.withhold(&permissions);
    StatusCode::NO_CONTENT
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ConnectionRate {
    bytes_per_second: Option<u64>,
}

async fn set_rate(
    State(storage): State<ObjectStorage>,
    Json(rate): Json<ConnectionRate>,
) -> StatusCode {
    storage.set_connection_rate(rate.bytes_per_second);
    StatusCode::NO_CONTENT
}
