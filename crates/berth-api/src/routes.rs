//! Which path is whose.

mod deployments;
mod secrets;
mod settings;
mod upload;
mod user;
mod versions;
mod workers;

use axum::Router;
use axum::routing::{delete, get, patch, put};

use crate::Api;

pub(crate) fn router(api: Api) -> Router {
    let account = Router::new()
        .merge(scripts())
        .route(
            "/workers/services/{name}",
            get(workers::service).delete(workers::delete),
        )
        .route("/workers/workers/{name}", get(workers::worker))
        .route(
            "/workers/workers/{name}/versions/latest",
            patch(secrets::patch_latest),
        )
        .route("/workers/subdomain", get(workers::subdomain))
        .route("/workers/tails/by-consumer/{name}", get(workers::nothing))
        .route(
            "/workers/durable_objects/namespaces",
            get(workers::namespaces),
        )
        // There are none yet: `wrangler delete` asks.
        .route("/storage/kv/namespaces", get(workers::nothing));
    Router::new()
        .route("/user", get(user::user))
        .route("/user/tokens/verify", get(user::verify))
        .route("/accounts", get(user::accounts))
        .route("/memberships", get(user::memberships))
        .nest("/accounts/{account}", account)
        .with_state(api)
}

fn scripts() -> Router<Api> {
    let one = Router::new()
        .route("/versions", get(versions::list).post(upload::post))
        .route("/versions/{version}", get(versions::one))
        .route(
            "/deployments",
            get(deployments::list).post(deployments::create),
        )
        .route("/secrets", get(secrets::list).put(secrets::put))
        .route("/secrets/{secret}", delete(secrets::delete))
        .route("/secrets-bulk", patch(secrets::bulk))
        .route(
            "/settings",
            get(settings::bindings).patch(settings::patch_bindings),
        )
        .route(
            "/script-settings",
            get(settings::get).patch(settings::patch),
        )
        .route(
            "/subdomain",
            get(settings::subdomain).post(settings::set_subdomain),
        )
        .route(
            "/schedules",
            get(settings::schedules).put(settings::set_schedules),
        )
        .route("/references", get(workers::references));
    Router::new()
        .route("/workers/scripts", get(workers::list))
        .route(
            "/workers/scripts/{name}",
            put(upload::put).delete(workers::delete),
        )
        .nest("/workers/scripts/{name}", one)
}
