//! The routes of what outlives a Worker: KV, D1, queues, secrets stores, Workflows.

use super::{d1, kv, queues, stores, workflows};
use crate::describe::{Routes, about, delete, get, patch, post, put};

/// Below an account.
pub(super) fn all() -> Routes {
    Routes::new()
        .merge(namespaces())
        .merge(databases())
        .merge(queue_routes())
        .merge(secrets_stores())
        .merge(workflow_routes())
}

/// Below nothing: addresses that are secrets, and wrangler's one question in another language.
pub(super) fn outside() -> Routes {
    Routes::new().route(
        "/transfers/{id}",
        get(
            d1::transfer::get,
            about("What an export of a D1 database has made")
                .answers("application/sql")
                .without_token(),
        )
        .put(
            d1::transfer::put,
            about("A file that is to be imported")
                .bytes("application/octet-stream")
                .without_token(),
        ),
    )
}

fn namespaces() -> Routes {
    let one = Routes::new()
        .route(
            "/keys",
            get(kv::keys, about("Keys by prefix").query::<kv::Keys>()),
        )
        .route(
            "/values/{key}",
            get(
                kv::get,
                about("A value").answers("application/octet-stream"),
            )
            .put(
                kv::put,
                about("Writes a value")
                    .bytes("application/octet-stream")
                    .query::<kv::Expires>(),
            )
            .delete(kv::remove, "Deletes a key"),
        )
        .route("/metadata/{key}", get(kv::metadata, "A value's metadata"))
        .route(
            "/bulk",
            put(
                kv::put_many,
                about("Writes many values").json::<Vec<kv::Pair>>(),
            )
            .delete(
                kv::remove_many,
                about("Deletes many keys").json::<Vec<String>>(),
            ),
        )
        .route(
            "/bulk/delete",
            post(
                kv::remove_many,
                about("Deletes many keys").json::<Vec<String>>(),
            ),
        )
        .route(
            "/bulk/get",
            post(kv::get_many, about("Many values").json::<kv::Wanted>()),
        );
    Routes::new()
        .route(
            "/storage/kv/namespaces",
            get(kv::list, about("KV namespaces").query::<kv::Page>()).post(
                kv::create,
                about("Makes a KV namespace").json::<kv::Titled>(),
            ),
        )
        .route(
            "/storage/kv/namespaces/{id}",
            get(kv::one, "A KV namespace")
                .put(
                    kv::rename,
                    about("Renames a KV namespace").json::<kv::Titled>(),
                )
                .delete(kv::delete, "Deletes a KV namespace with all that is in it"),
        )
        .nest("/storage/kv/namespaces/{id}", one)
}

fn databases() -> Routes {
    Routes::new()
        .route(
            "/d1/database",
            get(d1::list, about("D1 databases").query::<d1::Page>()).post(
                d1::create,
                about("Makes a D1 database").json::<d1::NewDatabase>(),
            ),
        )
        .route(
            "/d1/database/{id}",
            get(d1::one, "A D1 database, by id or name")
                .delete(d1::delete, "Deletes a D1 database with all that is in it"),
        )
        .route(
            "/d1/database/{id}/query",
            post(
                d1::query,
                about("Runs SQL: results with objects").json::<d1::Sql>(),
            ),
        )
        .route(
            "/d1/database/{id}/raw",
            post(
                d1::raw,
                about("Runs SQL: results with rows").json::<d1::Sql>(),
            ),
        )
        .route(
            "/d1/database/{id}/import",
            post(
                d1::transfer::import,
                about("Runs a file of SQL").json::<d1::transfer::Import>(),
            ),
        )
        .route(
            "/d1/database/{id}/export",
            post(
                d1::transfer::export,
                about("A database as SQL").json::<d1::transfer::Export>(),
            ),
        )
}

fn queue_routes() -> Routes {
    Routes::new()
        .route(
            "/queues",
            get(queues::list, about("Queues").query::<queues::Page>()).post(
                queues::create,
                about("Makes a queue").json::<queues::NewQueue>(),
            ),
        )
        .route(
            "/queues/{id}",
            get(queues::one, "A queue")
                .patch(
                    queues::change,
                    about("Changes how a queue delivers").json::<queues::ChangedQueue>(),
                )
                .delete(queues::delete, "Deletes a queue with its messages"),
        )
        .route(
            "/queues/{id}/purge",
            post(queues::purge, "Deletes a queue's messages"),
        )
        .route(
            "/queues/{id}/metrics",
            get(queues::metrics, "How many messages wait"),
        )
        .route(
            "/queues/{id}/consumers",
            get(queues::consumers, "Who consumes a queue").post(
                queues::add,
                about("Makes a Worker a consumer").json::<queues::NewConsumer>(),
            ),
        )
        .route(
            "/queues/{id}/consumers/{consumer}",
            put(
                queues::replace,
                about("Changes a consumer").json::<queues::NewConsumer>(),
            )
            .delete(queues::remove, "Takes a consumer away"),
        )
}

fn secrets_stores() -> Routes {
    Routes::new()
        .route(
            "/secrets_store/stores",
            get(
                stores::list,
                about("Secrets stores").query::<stores::Page>(),
            )
            .post(
                stores::create,
                about("Makes a secrets store").json::<stores::NewStore>(),
            ),
        )
        .route(
            "/secrets_store/stores/{id}",
            delete(stores::delete, "Deletes a store with its secrets"),
        )
        .route(
            "/secrets_store/stores/{id}/secrets",
            get(
                stores::secrets,
                about("Secrets of a store").query::<stores::Page>(),
            )
            .post(
                stores::create_secrets,
                about("Makes secrets, all or none").json::<Vec<stores::New>>(),
            ),
        )
        .route(
            "/secrets_store/stores/{id}/secrets/{secret}",
            get(stores::secret, "A secret without its value")
                .patch(
                    stores::change,
                    about("Changes a secret").json::<stores::Changes>(),
                )
                .delete(stores::delete_secret, "Deletes a secret"),
        )
        .route(
            "/secrets_store/stores/{id}/secrets/{secret}/duplicate",
            post(
                stores::duplicate,
                about("The same value under another name").json::<stores::Twin>(),
            ),
        )
}

fn workflow_routes() -> Routes {
    Routes::new()
        .route(
            "/workflows",
            get(
                workflows::list,
                about("Workflows").query::<workflows::Page>(),
            ),
        )
        .route(
            "/workflows/{name}",
            get(workflows::one, "A Workflow")
                .put(
                    workflows::put,
                    about("Says which class runs a Workflow").json::<workflows::NewWorkflow>(),
                )
                .delete(workflows::delete, "Forgets a Workflow"),
        )
        .route(
            "/workflows/{name}/versions",
            get(workflows::versions, "A Workflow's versions"),
        )
        .route(
            "/workflows/{name}/instances",
            get(
                workflows::instances::list,
                about("Instances, newest first").query::<workflows::instances::Filter>(),
            )
            .post(
                workflows::trigger,
                about("Makes an instance").json::<workflows::NewInstance>(),
            ),
        )
        // As wrangler asks for the latest one.
        .route(
            "/workflows/{name}/instances/",
            get(
                workflows::instances::list,
                about("Instances, newest first").query::<workflows::instances::Filter>(),
            ),
        )
        .route(
            "/workflows/{name}/instances/{id}",
            get(workflows::instance, "An instance"),
        )
        .route(
            "/workflows/{name}/instances/{id}/status",
            patch(
                workflows::set_status,
                about("Pauses, resumes, restarts or terminates an instance")
                    .json::<workflows::NewStatus>(),
            ),
        )
        .route(
            "/workflows/{name}/instances/{id}/events/{event}",
            post(
                workflows::send_event,
                about("Sends an event to an instance").json::<serde_json::Value>(),
            ),
        )
}
