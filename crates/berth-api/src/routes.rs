//! Which path is whose. How to add one: see `describe`.

mod assets;
mod containers;
mod d1;
mod deployments;
mod graphql;
mod host;
mod instances;
mod kv;
mod logs;
mod places;
mod queues;
mod r2;
mod registries;
mod resources;
mod rollouts;
mod secrets;
mod settings;
mod shapes;
mod ssh;
mod stores;
mod tails;
mod tokens;
mod upload;
mod user;
mod versions;
mod waiting;
mod workers;
mod workflows;

pub(crate) use d1::transfer::Transfers;

use serde_json::{Map, Value};

use crate::Api;
use crate::describe::{Routes, about, get, patch, post, put};

pub(crate) use ssh::Tickets;
pub(crate) use waiting::Looks;

/// WebSockets with secrets of their own: whoever has one may connect.
pub(crate) fn sockets(api: Api) -> axum::Router {
    tails::watched().merge(ssh::connections()).with_state(api)
}

pub(crate) fn all() -> Routes {
    let account = Routes::new()
        .merge(scripts())
        .merge(applications())
        .merge(host::routes())
        .merge(buckets())
        .merge(logs::routes())
        .merge(instances::routes())
        .merge(ssh::routes())
        .route(
            "/workers/services/{name}",
            get(
                workers::service,
                "Whether there is a Worker, and its migrations",
            )
            .delete(
                workers::delete,
                about("Deletes a Worker with all that it keeps").query::<workers::Force>(),
            ),
        )
        .route(
            "/workers/workers/{name}",
            get(workers::worker, "Where a Worker answers"),
        )
        .route(
            "/workers/workers/{name}/versions/latest",
            patch(
                secrets::patch_latest,
                about("Changes secrets in a new version, which is not live")
                    .json::<secrets::Latest>(),
            ),
        )
        .route(
            "/workers/domains/records",
            get(
                places::records,
                about("Custom domains").query::<places::Of>(),
            ),
        )
        .route(
            "/workers/domains/records/{id}",
            get(places::one_record, "A custom domain"),
        )
        .route(
            "/workers/subdomain",
            get(workers::subdomain, "The domain of all Workers"),
        )
        .route(
            "/workers/tails/by-consumer/{name}",
            get(
                workers::tail_producers,
                "Workers that name a Worker as their tail consumer",
            ),
        )
        .route(
            "/workers/durable_objects/namespaces",
            get(
                workers::namespaces,
                about("Durable Object classes of all Workers").query::<workers::Page>(),
            ),
        )
        .merge(resources::all());
    Routes::new()
        .merge(tokens::routes())
        .route("/user", get(user::user, "Who asks"))
        .route(
            "/user/tokens/verify",
            get(user::verify, "Whether the token is valid"),
        )
        .route(
            "/zones",
            get(
                places::zones,
                about("Zones by name: every host name is one").query::<places::ZoneName>(),
            ),
        )
        .route(
            "/zones/{zone}/workers/routes",
            get(places::zone_routes, "Routes below a zone"),
        )
        .route("/accounts", get(user::accounts, "The server's account"))
        .route(
            "/memberships",
            get(user::memberships, "Whose accounts the token may use"),
        )
        .route(
            "/graphql",
            post(
                graphql::query,
                about("Figures that wrangler asks for: how much is in an R2 bucket")
                    .json::<graphql::Query>()
                    .answers("application/json"),
            ),
        )
        .nest("/accounts/{account}", account)
        .merge(resources::outside())
}

fn scripts() -> Routes {
    let one = Routes::new()
        .route(
            "/routes",
            get(places::routes, "Routes of a Worker").put(
                places::set_routes,
                about("Sets all routes of a Worker").json::<Vec<places::NewRoute>>(),
            ),
        )
        .route(
            "/domains/changeset",
            post(
                places::changeset,
                about("What setting the custom domains of a Worker would change")
                    .json::<Vec<places::Origin>>()
                    .query::<places::Whole>(),
            ),
        )
        .route(
            "/domains/records",
            put(
                places::set_records,
                about("Sets all custom domains of a Worker").json::<places::Records>(),
            ),
        )
        .route(
            "/versions",
            get(versions::list, "Versions of a Worker, newest first").post(
                upload::post,
                about("Uploads a version, which is not live").form::<upload::Form>(true),
            ),
        )
        .route("/versions/{version}", get(versions::one, "A version"))
        .route(
            "/deployments",
            get(deployments::list, "Which versions were live, newest first").post(
                deployments::create,
                about("Makes a version live")
                    .json::<deployments::NewDeployment>()
                    .query::<deployments::Force>(),
            ),
        )
        .route(
            "/secrets",
            get(secrets::list, "Names of the secrets of a Worker").put(
                secrets::put,
                about("Sets a secret; the new version is live").json::<secrets::Secret>(),
            ),
        )
        .route(
            "/secrets/{secret}",
            crate::describe::delete(secrets::delete, "Deletes a secret; the new version is live"),
        )
        .route(
            "/secrets-bulk",
            patch(
                secrets::bulk,
                about("Sets and deletes secrets; the new version is live").json::<secrets::Bulk>(),
            ),
        )
        .route(
            "/settings",
            get(settings::bindings, "Bindings of the latest version").patch(
                settings::patch_bindings,
                about("Sets and deletes secrets by naming all bindings")
                    .form::<settings::Form>(false),
            ),
        )
        .route(
            "/script-settings",
            get(
                settings::get,
                "Settings of a Worker that belong to no version",
            )
            .patch(
                settings::patch,
                about("Changes such settings").json::<Map<String, Value>>(),
            ),
        )
        .route(
            "/subdomain",
            get(
                settings::subdomain,
                "Whether a Worker answers below the base domain",
            )
            .post(
                settings::set_subdomain,
                about("Has it answer there or not").json::<settings::NewSubdomain>(),
            ),
        )
        .route(
            "/schedules",
            get(settings::schedules, "Cron expressions that wake a Worker").put(
                settings::set_schedules,
                about("Sets all of them").json::<Vec<settings::Schedule>>(),
            ),
        )
        .route(
            "/assets-upload-session",
            post(
                assets::begin,
                about("Begins an upload of static assets; which files are missing")
                    .json::<assets::NewSession>(),
            ),
        )
        .merge(tails::routes())
        .route(
            "/references",
            get(workers::references, "Which Workers depend on this one"),
        );
    Routes::new()
        .route("/workers/scripts", get(workers::list, "Every Worker"))
        .route(
            "/workers/assets/upload",
            post(
                assets::upload,
                about("Uploads static assets, each in a part that is named by its hash; with the token of the upload")
                    .form::<assets::Files>(true)
                    .query::<assets::Encoding>(),
            ),
        )
        .route(
            "/workers/scripts/{name}",
            put(
                upload::put,
                about("Uploads a version, which is live").form::<upload::Form>(true),
            )
            .delete(
                workers::delete,
                about("Deletes a Worker with all that it keeps").query::<workers::Force>(),
            ),
        )
        .nest("/workers/scripts/{name}", one)
}

fn applications() -> Routes {
    Routes::new()
        .route(
            "/containers/me",
            get(containers::me, "What an instance may have"),
        )
        .route(
            "/containers/registries",
            get(registries::list, "Other registries with credentials").post(
                registries::add,
                about("Credentials for another registry").json::<registries::NewRegistry>(),
            ),
        )
        .route(
            "/containers/registries/{domain}",
            crate::describe::delete(registries::delete, "Forgets the credentials of a registry"),
        )
        .route(
            "/containers/registries/{domain}/credentials",
            post(
                registries::credentials,
                about("A password for the server's registry").json::<registries::Wanted>(),
            ),
        )
        .route(
            "/containers/applications",
            get(
                containers::list,
                about("Every container application").query::<containers::Filter>(),
            )
            .post(
                containers::create,
                about("Gives a class its containers").json::<shapes::NewApplication>(),
            ),
        )
        .route(
            "/containers/applications/{id}",
            get(containers::one, "A container application")
                .patch(
                    containers::modify,
                    about("Changes a container application").json::<shapes::ChangedApplication>(),
                )
                .delete(containers::delete, "Takes a class its containers"),
        )
        .route(
            "/containers/image-preparations",
            post(
                containers::prepare,
                about("Brings an image that objects may start with")
                    .json::<containers::Preparation>(),
            ),
        )
        .route(
            "/containers/applications/{id}/rollouts",
            get(rollouts::list, "Rollouts, newest first").post(
                rollouts::create,
                about("Rolls out another image or size").json::<shapes::NewRollout>(),
            ),
        )
        .route(
            "/containers/applications/{id}/rollouts/{rollout}",
            get(rollouts::one, "A rollout, with its steps and progress").post(
                rollouts::act,
                about("Begins the next step, undoes one, or all").json::<rollouts::Asked>(),
            ),
        )
        .route(
            "/containers/dash/applications",
            get(
                containers::dash,
                "Every container application with its health",
            ),
        )
        .route(
            "/containers/dash/applications/{id}/instances",
            get(containers::instances, "Instances of an application"),
        )
}

fn buckets() -> Routes {
    Routes::new()
        .route(
            "/r2/buckets",
            get(
                r2::list,
                about("R2 buckets, by name").query::<r2::Filter>(),
            )
            .post(
                r2::create,
                about("Makes an R2 bucket").json::<r2::NewBucket>(),
            ),
        )
        .route(
            "/r2/buckets/{bucket}",
            get(r2::one, "An R2 bucket")
                .patch(
                    r2::modify,
                    "Changes what objects of a bucket are by default: the header cf-r2-storage-class",
                )
                .delete(r2::delete, "Deletes an empty R2 bucket"),
        )
        .route(
            "/r2/buckets/{bucket}/cors",
            get(r2::rules::cors, "Which other origins may ask a bucket")
                .put(
                    r2::rules::set_cors,
                    about("Sets which other origins may ask a bucket").json::<r2::rules::Rules>(),
                )
                .delete(r2::rules::delete_cors, "No other origin may ask a bucket"),
        )
        .route(
            "/r2/buckets/{bucket}/lifecycle",
            get(r2::rules::lifecycle, "What becomes of objects in time").put(
                r2::rules::set_lifecycle,
                about("Sets what becomes of objects in time").json::<r2::rules::Rules>(),
            ),
        )
        .route(
            "/r2/buckets/{bucket}/usage",
            get(r2::usage, "How many objects a bucket has, and how many bytes"),
        )
        .route(
            "/r2/buckets/{bucket}/objects/{*key}",
            get(
                r2::objects::get,
                about("The bytes of an object").answers("application/octet-stream"),
            )
            .put(
                r2::objects::put,
                about("Writes an object").bytes("application/octet-stream"),
            )
            .delete(r2::objects::delete, "Deletes an object, if it is there"),
        )
        .route(
            "/r2/keys",
            get(r2::keys::list, "Access keys of S3 clients, without their secrets").post(
                r2::keys::create,
                about("Makes an access key; its secret is told once").json::<r2::keys::NewKey>(),
            ),
        )
        .route(
            "/r2/keys/{id}",
            crate::describe::delete(r2::keys::delete, "Takes an access key back"),
        )
}
