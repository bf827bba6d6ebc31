//! The bot as its users and operators see it: the product, installed by its chart on a real control
//! plane with a real Redis, and people who talk to it through the stand-in's Bot API.

#[path = "../support/mod.rs"]
mod support;

#[path = "../controller/world.rs"]
mod world;

mod access;
mod buttons;
mod chat;
mod deaths;
mod files;
mod outages;
mod transcript;
