//! `POST /containers/create`: a request becomes a [`ContainerSpec`] or a sidecar.

use std::sync::Arc;

use berth_engine::{ContainerInfo, ContainerSpec, EngineError, Policy, Status};
use berth_jail::Limits;
use berth_net::{DnsPolicy, Egress, Network, Upstream};
use http::StatusCode;
use serde_json::{Value, json};

use crate::api::{Api, random_id};
use crate::body::{CreateContainer, HostConfig};
use crate::containers::policy::policy;
use crate::environment::{RealValues, resolve_placeholders};
use crate::error::ApiError;
use crate::helper::is_helper;
use crate::mounts::mounts;
use crate::names::{ParsedName, is_workerds};
use crate::respond::{Reply, json_reply};
use crate::sidecar::{Sidecar, is_sidecar};
use crate::{Application, Chosen};

/// Makes a sidecar or an application container.
///
/// workerd reads 201, 404 (no image) and 409 (name in use: it removes the old one and tries again).
pub(crate) async fn create(api: &Arc<Api>, name: Option<&str>, mut body: CreateContainer) -> Reply {
    let name = name.map_or_else(
        || format!("berth-{}", &random_id()[..12]),
        |name| name.trim_start_matches('/').to_owned(),
    );
    let name = name.as_str();
    check_name(name)?;
    if api.helpers.get(name).is_some() {
        return Err(in_use(name));
    }
    if is_helper(&body) {
        if api.engine.inspect(name).is_some() {
            return Err(in_use(name));
        }
        let volumes = api.engine.volumes().clone();
        let helper = api.helpers.create(name, body, volumes).await?;
        return Ok(created(&helper.id, &[]));
    }
    if is_sidecar(name, &body) {
        if api.engine.inspect(name).is_some() {
            return Err(in_use(name));
        }
        let sidecar = api.sidecars.create(api, name, body).await?;
        return Ok(created(&sidecar.id, &[]));
    }
    check_supported(&body)?;
    api.traces.begin(name);
    if api
        .sidecars
        .get(name)
        .is_some_and(|sidecar| sidecar.name == name)
    {
        return Err(in_use(name));
    }
    let applications = api.applications();
    let parsed = ParsedName::parse(name, &applications);
    let application = parsed.application;
    let limits = choose(&parsed, &mut body);
    let (mut policy, warnings) = policy(name, &body.host_config, application);
    policy.extras.domain_name.clone_from(&body.domain_name);
    let joined = joined_sidecar(api, &body.host_config.network_mode)?;
    let network = match &joined {
        Some(sidecar) => sidecar.network.clone(),
        None => own_network(api, &body.host_config.network_mode).await?,
    };
    let mounts = mounts(&body.host_config)?;
    let spec = ContainerSpec {
        policy,
        mounts,
        ..container_spec(api, name, body, limits, joined.as_deref(), network)
    };
    replace_ended(api, name).await;
    if let Some(sidecar) = &joined {
        sidecar.join(name);
    }
    match admit_and_create(api, spec).await {
        Ok(info) => Ok(created(&info.id, &warnings)),
        Err(error) if is_workerds(name) && is_told_later(&error) => {
            refuse(api, name, &error);
            Ok(created(&random_id(), &warnings))
        }
        Err(error) => Err(error.into()),
    }
}

/// Puts what the application chooses in the place of its class's image. The limits.
fn choose(parsed: &ParsedName<'_>, body: &mut CreateContainer) -> Option<Limits> {
    let application = parsed.application?;
    if let Some(made_for) = &application.made_for {
        let label = crate::MADE_FOR_LABEL.to_owned();
        body.labels.insert(label, made_for.clone());
    }
    if let Some(limits) = size(application, body) {
        return Some(limits);
    }
    let chosen = application.chooser.as_ref().zip(parsed.object_id);
    let Some((chooser, object)) = chosen.filter(|_| body.image == crate::CLASS_IMAGE) else {
        return Some(application.limits);
    };
    let Chosen {
        image,
        limits,
        version,
    } = (chooser.0)(object);
    body.image = image;
    let label = crate::VERSION_LABEL.to_owned();
    body.labels.insert(label, version.to_string());
    Some(limits)
}

/// The limits of the size that the object asks for. What says so does not reach the container.
fn size(application: &Application, body: &mut CreateContainer) -> Option<Limits> {
    let sizer = application.sizer.as_ref()?;
    let mut asked = None;
    body.env.retain(|entry| match entry.split_once('=') {
        Some((crate::INSTANCE_VARIABLE, size)) => {
            asked = (sizer.0)(size);
            false
        }
        _ => true,
    });
    asked
}

/// Nothing is made for an instance that may not start.
async fn admit_and_create(api: &Api, spec: ContainerSpec) -> Result<ContainerInfo, EngineError> {
    if let Some(limit) = &spec.policy.instances {
        let limits = spec.limits.as_ref();
        api.engine.check_room(&spec.display_name, limit, limits)?;
    }
    api.engine.create(spec).await
}

/// What is wrong with the image, the machine or the number of instances rather than with the
/// request: workerd's next calls are answered with it. See `admission.rs`.
pub(super) fn is_told_later(error: &EngineError) -> bool {
    matches!(
        error,
        EngineError::NoInstance { .. }
            | EngineError::NoTotal { .. }
            | EngineError::NoSuchImage(_)
            | EngineError::NoCommand(_)
            | EngineError::Image { .. }
            | EngineError::File { .. }
            | EngineError::Kernel { .. }
            | EngineError::NoIdRange
            | EngineError::Start { .. }
            | EngineError::Jail { .. }
    )
}

/// Remembers why a container of workerd's does not start.
pub(super) fn refuse(api: &Api, name: &str, error: &EngineError) {
    let applications = api.applications();
    let display_name = ParsedName::parse(name, &applications).display_name(name);
    let reason = berth_error::chain(error).replace(name, &display_name);
    let status = ApiError::status_of(error);
    let news = api
        .refusals
        .refuse(name, ApiError::new(status, reason.as_str()));
    // The engine has told everything else.
    let full = matches!(
        error,
        EngineError::NoInstance { .. } | EngineError::NoTotal { .. }
    );
    if news && full {
        api.engine.tell_refused(name, display_name, reason);
    }
}

/// Removes a container of workerd's that has ended, so that its successor finds the name free.
///
/// Docker says 409 here; workerd 1.20261117.1 answers that by deleting the container, sleeping
/// 100 ms and creating again, on the way of every request that wakes a container that went to
/// sleep. Nobody else could still want the ended one: its exit has been told, and workerd's next
/// call for the name would be that deletion.
async fn replace_ended(api: &Api, name: &str) {
    let ended = api
        .engine
        .inspect(name)
        .filter(|info| info.status == Status::Exited && info.name == name && is_workerds(name));
    if let Some(info) = ended {
        match api.engine.remove(name, false).await {
            Ok(()) => api.execs.forget(&info.id),
            Err(error) => tracing::debug!(%error, "an ended container stays"),
        }
    }
}

fn created(id: &str, warnings: &[String]) -> http::Response<crate::respond::Body> {
    let body = json!({"Id": id, "Warnings": warnings});
    json_reply(StatusCode::CREATED, &body)
}

fn in_use(name: &str) -> ApiError {
    ApiError::conflict(format!("the container name `{name}` is already in use"))
}

/// Docker's rule: `[a-zA-Z0-9][a-zA-Z0-9_.-]+`.
fn check_name(name: &str) -> Result<(), ApiError> {
    let safe = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    let starts_well = name
        .bytes()
        .next()
        .is_some_and(|b| b.is_ascii_alphanumeric());
    if name.len() > 1 && starts_well && name.bytes().all(safe) {
        Ok(())
    } else {
        Err(ApiError::bad_request(format!(
            "Invalid container name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"
        )))
    }
}

fn check_supported(body: &CreateContainer) -> Result<(), ApiError> {
    if body.image.is_empty() {
        return Err(ApiError::bad_request("no image given"));
    }
    Ok(())
}

/// The sidecar of `container:<name>`; joining another container's network is refused.
fn joined_sidecar(api: &Api, network_mode: &str) -> Result<Option<Arc<Sidecar>>, ApiError> {
    let Some(target) = network_mode.strip_prefix("container:") else {
        return Ok(None);
    };
    match api.sidecars.get(target) {
        Some(sidecar) => Ok(Some(sidecar)),
        None if api.engine.inspect(target).is_some() => Err(ApiError::unsupported(
            "joining the network of a container that is not a sidecar",
        )),
        None => Err(ApiError::no_such_container(target)),
    }
}

/// The network of a container that joins none.
async fn own_network(api: &Api, network_mode: &str) -> Result<Arc<Network>, ApiError> {
    let internet = match network_mode {
        "" | "default" | "bridge" => true,
        "none" => false,
        other => {
            return Err(ApiError::unsupported(&format!("the network mode {other}")));
        }
    };
    let egress = Egress {
        upstream: Upstream::Direct,
        internet,
        dns: DnsPolicy::default(),
    };
    api.pool
        .create(egress, api.networks.clone())
        .await
        .map_err(|error| ApiError::internal(berth_error::chain(&error)))
}

fn container_spec(
    api: &Api,
    name: &str,
    body: CreateContainer,
    application_limits: Option<Limits>,
    joined: Option<&Sidecar>,
    network: Arc<Network>,
) -> ContainerSpec {
    let applications = api.applications();
    let parsed = ParsedName::parse(name, &applications);
    let identity = &applications.identity;
    let placement_id = uuid::Uuid::new_v4().to_string();
    let unknown_id = ParsedName::unknown_application(name).map(unknown_application_id);
    let values = RealValues {
        application_id: parsed
            .application
            .map(|app| app.application_id.as_str())
            .or(unknown_id.as_deref()),
        deployment_id: &identity.deployment_id,
        object_id: parsed.object_id,
        location: &identity.location,
        region: &identity.region,
        country: &identity.country,
        node_id: &identity.node_id,
        placement_id: &placement_id,
    };
    let (entrypoint, command) = arguments(&body);
    let mut extra_hosts = extra_hosts(&body.host_config.extra_hosts);
    let names = api.networks.names.iter();
    extra_hosts.extend(names.map(|(name, address)| (name.clone(), address.to_string())));
    let hostname = match (body.hostname.as_str(), joined) {
        ("", Some(sidecar)) => sidecar.hostname(),
        ("", None) => random_id()[..12].to_owned(),
        (hostname, _) => hostname.to_owned(),
    };
    ContainerSpec {
        name: name.to_owned(),
        image: body.image,
        entrypoint,
        command,
        env: resolve_placeholders(body.env, &values),
        user: some(body.user),
        working_dir: some(body.working_dir),
        labels: body.labels,
        hostname,
        extra_hosts,
        mounts: Vec::new(),
        network,
        sleep: parsed.application.and_then(|app| app.sleep),
        limits: limits(&body.host_config, application_limits),
        display_name: parsed.display_name(name),
        policy: Policy::default(),
        companion: joined.map_or(Value::Null, |sidecar| json!(sidecar.record())),
    }
}

/// The id of an application that nobody told: the same whenever its unique key is the same.
fn unknown_application_id(unique_key: &str) -> String {
    uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, unique_key.as_bytes()).to_string()
}

fn some(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

/// Entrypoint and command: an absent or empty one is the image's, `[""]` is none at all, and an
/// entrypoint of one's own also drops the image's command.
fn arguments(body: &CreateContainer) -> (Option<Vec<String>>, Option<Vec<String>>) {
    let list = |value: &Option<crate::body::StringOrList>| {
        value
            .clone()
            .map(crate::body::StringOrList::into_vec)
            .filter(|list| !list.is_empty())
    };
    let (entrypoint, command) = (list(&body.entrypoint), list(&body.cmd));
    match entrypoint {
        None => (None, command),
        Some(entrypoint) if entrypoint == [""] => {
            (Some(Vec::new()), Some(command.unwrap_or_default()))
        }
        Some(entrypoint) => (Some(entrypoint), Some(command.unwrap_or_default())),
    }
}

/// `name:address` lines. `host-gateway` is left out: containers cannot reach the host.
fn extra_hosts(entries: &[String]) -> Vec<(String, String)> {
    entries
        .iter()
        .filter_map(|entry| entry.split_once(':'))
        .filter(|(_, address)| address.parse::<std::net::IpAddr>().is_ok())
        .map(|(name, address)| (name.to_owned(), address.to_owned()))
        .collect()
}

/// The application's limits, each replaced by what the request sets; zero is "not set".
fn limits(host: &HostConfig, application: Option<Limits>) -> Option<Limits> {
    let positive = |number: i64| u64::try_from(number).ok().filter(|number| *number > 0);
    let asked = Limits {
        cpu_milli: positive(host.nano_cpus)
            .and_then(|nano| u32::try_from((nano / 1_000_000).max(1)).ok()),
        memory_bytes: positive(host.memory),
        pids: positive(host.pids_limit).and_then(|pids| u32::try_from(pids).ok()),
        disk_bytes: None,
    };
    if asked.cpu_milli.is_none() && asked.memory_bytes.is_none() && asked.pids.is_none() {
        return application;
    }
    let application = application.unwrap_or_default();
    Some(Limits {
        cpu_milli: asked.cpu_milli.or(application.cpu_milli),
        memory_bytes: asked.memory_bytes.or(application.memory_bytes),
        pids: asked.pids.or(application.pids),
        disk_bytes: application.disk_bytes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body::decode;

    fn arguments_of(json: &str) -> (Option<Vec<String>>, Option<Vec<String>>) {
        arguments(&decode(json.as_bytes()).unwrap())
    }

    fn strings(list: &[&str]) -> Option<Vec<String>> {
        Some(list.iter().map(|text| (*text).to_owned()).collect())
    }

    #[test]
    fn entrypoint_and_command_follow_docker() {
        assert_eq!(arguments_of("{}"), (None, None));
        assert_eq!(
            arguments_of(r#"{"Cmd":["a","b"]}"#),
            (None, strings(&["a", "b"]))
        );
        assert_eq!(arguments_of(r#"{"Cmd":[],"Entrypoint":[]}"#), (None, None));
        assert_eq!(
            arguments_of(r#"{"Entrypoint":"/bin/cp"}"#),
            (strings(&["/bin/cp"]), strings(&[]))
        );
        assert_eq!(
            arguments_of(r#"{"Entrypoint":[""],"Cmd":["x"]}"#),
            (strings(&[]), strings(&["x"]))
        );
    }

    #[test]
    fn limits_of_the_request_go_before_the_applications() {
        let application = Limits {
            cpu_milli: Some(62),
            memory_bytes: Some(256 << 20),
            ..Limits::default()
        };
        let host = |json: &str| {
            let body: CreateContainer =
                decode(format!(r#"{{"HostConfig":{json}}}"#).as_bytes()).unwrap();
            body.host_config
        };
        let unset = host(r#"{"Memory":0,"NanoCpus":0,"PidsLimit":0}"#);
        assert!(limits(&unset, None).is_none());
        let found = limits(&unset, Some(application)).unwrap();
        assert_eq!(found.memory_bytes, Some(256 << 20));
        let found = limits(
            &host(r#"{"NanoCpus":500000000,"PidsLimit":-1}"#),
            Some(application),
        );
        let found = found.unwrap();
        assert_eq!(found.cpu_milli, Some(500));
        assert_eq!(found.memory_bytes, Some(256 << 20));
        assert_eq!(found.pids, None);
    }

    #[test]
    fn hosts_need_an_address() {
        let entries = [
            "a:1.2.3.4",
            "b:::1",
            "host.docker.internal:host-gateway",
            "c",
        ];
        assert_eq!(
            extra_hosts(&entries.map(str::to_owned)),
            [("a", "1.2.3.4"), ("b", "::1")].map(|(a, b)| (a.to_owned(), b.to_owned()))
        );
    }

    #[test]
    fn names_are_docker_names() {
        assert!(check_name("workerd-a_b.c-1").is_ok());
        for name in ["", "a", "-a", "a/b", "a b", "../x"] {
            assert!(check_name(name).is_err(), "{name}");
        }
    }
}
