//! End-to-end tests: `berth dev` on real projects, driven as a client would, with a leak check after
//! every session.
//!
//! One test binary, so that its sessions share a limit on how many run at once. A file per example,
//! and one each for the container class, the dev session as a person uses it, and mistakes.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "test code")]

mod class_api;
mod class_burst;
mod class_streams;
mod clock_jump;
mod code_sandbox;
mod config_errors;
mod container_api;
mod cron_batch_job;
mod deployed;
mod dev_session;
mod dev_tools;
mod egress;
mod engine;
mod env_vars;
mod faults;
mod frontend_backend;
mod hello;
mod image_store;
mod images;
mod kill;
mod lifecycle;
mod limits;
mod load;
mod packages;
mod registries;
mod serve;
mod serve_adopt;
mod serve_api;
mod serve_assets;
mod serve_atomic;
mod serve_backup;
mod serve_cli;
mod serve_data;
mod serve_exports;
mod serve_gate;
mod serve_kill;
mod serve_limits;
mod serve_logs;
mod serve_network;
mod serve_objects;
mod serve_old_wrangler;
mod serve_power;
mod serve_r2;
mod serve_registries;
mod serve_rolling;
mod serve_rollout;
mod serve_secrets;
mod serve_seeds;
mod serve_ssh;
mod serve_status;
mod serve_systemd;
mod serve_tail;
mod serve_tail_consumers;
mod serve_tls;
mod serve_transfer;
mod serve_usage;
mod serve_use_cases;
mod serve_versions;
mod sleep;
mod snapshots;
mod status_hooks;
mod storage;
mod terminal;
mod websocket_chat;

use berth_test::World;

fn world() -> World {
    World::open(env!("CARGO_BIN_EXE_berth"))
}
