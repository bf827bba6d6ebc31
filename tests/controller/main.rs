//! The whole product on a real control plane, its pods run as processes: what becomes of transfers
//! when anything dies, is cut off, or lies.

mod beginning;
mod caches;
mod chaos;
mod crashes;
mod deletion;
mod leaders;
mod life;
mod outages;
mod pods;
mod queue;
mod refusals;
mod slots;
#[path = "../support/mod.rs"]
mod support;
mod theatre;
mod world;
