//! Which request is which operation.
//!
//! The server runs everything but `GET` and `HEAD` to its end although the client hangs up;
//! waiting and streaming happen in the reply's body, and end with the connection.

use std::sync::Arc;
use std::time::Instant;

use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;

use crate::api::Api;
use crate::body::{CreateContainer, CreateExec, CreateVolume, collect, decode};
use crate::error::ApiError;
use crate::query::{Query, segments};
use crate::respond::{self, Body, Reply};
use crate::{archive, commit, containers, exec, images, system, trace, volumes};

/// Answers one request.
pub(crate) async fn route(api: Arc<Api>, request: Request<Incoming>) -> Response<Body> {
    let begun = Instant::now();
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let reply = dispatch(&api, request).await;
    let status = match &reply {
        Ok(response) => response.status(),
        Err(error) => error.status,
    };
    let path = segments(uri.path());
    api.traces.call(begun, &method, &path, uri.query(), status);
    match reply {
        Ok(response) => {
            tracing::debug!(%method, %uri, status = response.status().as_u16(), "docker");
            response
        }
        Err(error) => {
            let (status, message) = (error.status.as_u16(), &error.message);
            tracing::debug!(%method, %uri, status, message, "docker");
            respond::error(&error)
        }
    }
}

async fn dispatch(api: &Arc<Api>, request: Request<Incoming>) -> Reply {
    let method = request.method().clone();
    let path = segments(request.uri().path());
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    let query = Query::parse(request.uri().query());
    match path.first().copied() {
        Some("containers") => containers_routes(api, &method, &path[1..], query, request).await,
        Some("exec") => exec_routes(api, &method, &path[1..], &query, request).await,
        Some("volumes") => volume_routes(api, &method, &path[1..], &query, request).await,
        Some("commit") if method == Method::POST => make_image(api, &query, request).await,
        Some("images") => image_routes(api, &method, &path[1..], &query, request).await,
        Some("auth") if method == Method::POST => {
            images::login(api, &collect(request.into_body()).await?).await
        }
        _ => other_routes(api, &method, &path, &query),
    }
}

async fn containers_routes(
    api: &Arc<Api>,
    method: &Method,
    path: &[&str],
    query: Query,
    request: Request<Incoming>,
) -> Reply {
    match (method.as_str(), path) {
        ("GET", ["json"]) => containers::list(api, &query),
        ("GET", [name, "json"]) => containers::inspect(api, name),
        ("GET", [name, "stats"]) => containers::stats(api, name, &query),
        ("GET", [name, "trace"]) => trace::report(api, name),
        ("GET", [name, "logs"]) => containers::logs(api, name, &query).await,
        ("POST", [name, "wait"]) => {
            collect(request.into_body()).await?;
            containers::wait(api, name, &query)
        }
        // One that could not be made: whoever waits for it will be told.
        ("PUT", [name, "archive"])
            if api.engine.inspect(name).is_none() && api.refusals.of(name).is_some() =>
        {
            collect(request.into_body()).await?;
            Ok(respond::empty(StatusCode::OK))
        }
        ("POST", ["create"]) => {
            let body = decode::<CreateContainer>(&collect(request.into_body()).await?)?;
            containers::create(api, query.get("name"), body).await
        }
        ("POST", [name, "exec"]) => {
            let body = decode::<CreateExec>(&collect(request.into_body()).await?)?;
            exec::create(api, name, body)
        }
        (
            "POST",
            [
                name,
                operation @ ("start" | "stop" | "kill" | "pause" | "unpause"),
            ],
        ) => {
            collect(request.into_body()).await?;
            match *operation {
                "start" => containers::start(api, name).await,
                "stop" => containers::stop(api, name, &query).await,
                "pause" => containers::pause(api, name).await,
                "unpause" => containers::unpause(api, name).await,
                _ => containers::kill(api, name, &query).await,
            }
        }
        ("DELETE", [name]) => {
            collect(request.into_body()).await?;
            containers::remove(api, name, &query).await
        }
        ("GET", [name, "archive"]) => archive::read(api, name, &query).await,
        ("HEAD", [name, "archive"]) => archive::stat(api, name, &query).await,
        ("PUT", [name, "archive"]) => archive::write(api, name, &query, request).await,
        (_, [_, "restart" | "attach" | "rename" | "update" | "top"]) => {
            Err(ApiError::unsupported("this operation on containers"))
        }
        _ => Err(page_not_found()),
    }
}

async fn exec_routes(
    api: &Arc<Api>,
    method: &Method,
    path: &[&str],
    query: &Query,
    request: Request<Incoming>,
) -> Reply {
    match (method.as_str(), path) {
        ("POST", [id, "start"]) => exec::start(api, id, request).await,
        ("POST", [id, "resize"]) => exec::resize(api, id, query),
        ("GET", [id, "json"]) => exec::inspect(api, id),
        _ => Err(page_not_found()),
    }
}

/// Image names have slashes, which clients encode or not.
async fn image_routes(
    api: &Arc<Api>,
    method: &Method,
    path: &[&str],
    query: &Query,
    request: Request<Incoming>,
) -> Reply {
    match (method.as_str(), path) {
        ("GET", ["json"]) => images::list(api, query).await,
        ("GET", [name @ .., "json"]) => images::inspect(api, &name.join("/")).await,
        ("POST", [name @ .., "tag"]) => {
            collect(request.into_body()).await?;
            images::tag(api, &name.join("/"), query).await
        }
        ("DELETE", [_, ..]) => {
            collect(request.into_body()).await?;
            images::remove(api, &path.join("/")).await
        }
        ("POST", ["create"]) => {
            let (parts, body) = request.into_parts();
            collect(body).await?;
            images::create(api, query, &parts.headers).await
        }
        _ => Err(ApiError::unsupported("this operation on images")),
    }
}

async fn volume_routes(
    api: &Arc<Api>,
    method: &Method,
    path: &[&str],
    query: &Query,
    request: Request<Incoming>,
) -> Reply {
    match (method.as_str(), path) {
        ("GET", []) => volumes::list(api, query).await,
        ("POST", ["create"]) => {
            let body = decode::<CreateVolume>(&collect(request.into_body()).await?)?;
            volumes::create(api, body).await
        }
        ("GET", [name]) => volumes::inspect(api, name).await,
        ("DELETE", [name]) => {
            collect(request.into_body()).await?;
            volumes::remove(api, name).await
        }
        _ => Err(ApiError::unsupported("this operation on volumes")),
    }
}

async fn make_image(api: &Arc<Api>, query: &Query, request: Request<Incoming>) -> Reply {
    collect(request.into_body()).await?;
    commit::commit(api, query).await
}

fn other_routes(api: &Arc<Api>, method: &Method, path: &[&str], query: &Query) -> Reply {
    match (method.as_str(), path) {
        ("GET" | "HEAD", ["_ping"]) => Ok(system::ping()),
        ("GET", ["version"]) => Ok(system::version()),
        ("GET", ["info"]) => Ok(system::info(api)),
        ("GET", ["events"]) => system::events(api, query),
        ("GET", ["networks"]) => Ok(system::networks()),
        ("GET", ["networks", "bridge"]) => Ok(system::bridge()),
        ("GET", ["networks", name]) => {
            Err(ApiError::not_found(format!("network {name} not found")))
        }
        _ => Err(page_not_found()),
    }
}

fn page_not_found() -> ApiError {
    ApiError::not_found("page not found")
}
