//! Prints the description of the API; `cargo xtask openapi` keeps it in `docs/openapi.json`.
#![allow(clippy::print_stdout, reason = "what it is for")]

fn main() {
    println!("{:#}", berth_api::openapi());
}
