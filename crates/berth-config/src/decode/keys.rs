//! Every top-level field of a wrangler configuration: who may set it, and what Berth does with it.
//!
//! Scopes follow wrangler 4.125 (`normalizeAndValidateEnvironment`) and 4.164's schema. A new
//! binding kind that Berth learns moves from `Refused` to `Read`.

/// What `env.<name>` does to a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// The environment's value, else the top level's.
    Inherited,
    /// The environment's value only; wrangler warns if just the top level has one.
    Own,
    /// Top level only.
    TopLevel,
}

/// What Berth does with a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    /// A decoder reads it.
    Read,
    /// It has no meaning on one's own machine.
    Ignored,
    /// Only a server runs this; in a dev session it is as if refused, with this name in the plural.
    Deployed(&'static str),
    /// A server does this; a dev session goes on without, and says so.
    Without(&'static str),
    /// Berth does not run this yet: a message says so, with the thing's name in the plural.
    Refused(&'static str),
}

/// One top-level field.
pub(crate) struct Key {
    pub(crate) name: &'static str,
    pub(crate) scope: Scope,
    pub(crate) usage: Use,
}

const fn key(name: &'static str, scope: Scope, usage: Use) -> Key {
    Key { name, scope, usage }
}

use Scope::{Inherited, Own, TopLevel};
use Use::{Deployed, Ignored, Read, Refused, Without};

/// All of them.
pub(crate) const KEYS: &[Key] = &[
    // What Berth runs.
    key("name", Inherited, Read),
    key("main", Inherited, Read),
    key("compatibility_date", Inherited, Read),
    key("compatibility_flags", Inherited, Read),
    key("vars", Own, Read),
    key("secrets", Own, Read),
    key("containers", Own, Read),
    key("durable_objects", Own, Read),
    key("migrations", Inherited, Read),
    key("exports", Inherited, Read),
    key("kv_namespaces", Own, Read),
    key("d1_databases", Own, Read),
    key("r2_buckets", Own, Read),
    key("queues", Own, Read),
    key("workflows", Own, Read),
    key("services", Own, Read),
    key("triggers", Inherited, Read),
    key("assets", Inherited, Read),
    key("observability", Inherited, Read),
    key("dev", TopLevel, Read),
    key("rules", Inherited, Read),
    key("define", Own, Read),
    key("alias", TopLevel, Read),
    key("no_bundle", Inherited, Read),
    key("minify", Inherited, Read),
    key("keep_names", Inherited, Read),
    key("tsconfig", Inherited, Read),
    key("jsx_factory", Inherited, Read),
    key("jsx_fragment", Inherited, Read),
    key("find_additional_modules", Inherited, Read),
    key("base_dir", Inherited, Read),
    key("preserve_file_names", Inherited, Read),
    key("build", Inherited, Read),
    key("env", TopLevel, Read),
    // What matters to a deployment on Cloudflare only.
    key("$schema", TopLevel, Ignored),
    key("account_id", Inherited, Ignored),
    key("workers_dev", Inherited, Ignored),
    key("preview_urls", Inherited, Ignored),
    key("route", Inherited, Ignored),
    key("routes", Inherited, Ignored),
    key("limits", Inherited, Ignored),
    key("placement", Inherited, Ignored),
    key("logpush", Inherited, Ignored),
    key("upload_source_maps", Inherited, Ignored),
    key(
        "tail_consumers",
        Own,
        Without("other Workers hear nothing of this one in a dev session"),
    ),
    key("streaming_tail_consumers", Own, Ignored),
    key("send_metrics", TopLevel, Ignored),
    key("dependencies_instrumentation", TopLevel, Ignored),
    key("keep_vars", TopLevel, Ignored),
    key("addresses", TopLevel, Ignored),
    key("access", Inherited, Ignored),
    key("cache", Inherited, Ignored),
    key("compliance_region", Inherited, Ignored),
    key("python_modules", Inherited, Ignored),
    key("previews", Inherited, Ignored),
    key("first_party_worker", Inherited, Ignored),
    key("cloudchamber", Own, Ignored),
    // What Berth does not run yet.
    key(
        "secrets_store_secrets",
        Own,
        Deployed("Secrets Store secrets"),
    ),
    key("ai", Own, Refused("Workers AI")),
    key("ai_search", Own, Refused("AI Search instances")),
    key("ai_search_namespaces", Own, Refused("AI Search namespaces")),
    key("agent_memory", Own, Refused("Agent Memory namespaces")),
    key(
        "analytics_engine_datasets",
        Own,
        Refused("Analytics Engine datasets"),
    ),
    key("artifacts", Own, Refused("Artifacts")),
    key("browser", Own, Refused("Browser Rendering")),
    key("connect", Own, Refused("raw TCP listeners")),
    key(
        "data_blobs",
        TopLevel,
        Refused("data blobs of service-worker scripts"),
    ),
    key("dispatch_namespaces", Own, Refused("dispatch namespaces")),
    key("flagship", Own, Refused("Flagship bindings")),
    key("hyperdrive", Own, Refused("Hyperdrive")),
    key("images", Own, Refused("Cloudflare Images")),
    key("logfwdr", Inherited, Refused("logfwdr bindings")),
    key("media", Own, Refused("Media Transformations")),
    key("mtls_certificates", Own, Refused("mTLS certificates")),
    key(
        "pages_build_output_dir",
        TopLevel,
        Refused("Pages projects"),
    ),
    key("pipelines", Own, Refused("Pipelines")),
    key("ratelimits", Own, Refused("rate limit bindings")),
    key("send_email", Own, Refused("email bindings")),
    key("site", TopLevel, Refused("Workers Sites")),
    key("stream", Own, Refused("Cloudflare Stream")),
    key(
        "text_blobs",
        TopLevel,
        Refused("text blobs of service-worker scripts"),
    ),
    key("unsafe", Own, Refused("unsafe bindings")),
    key("unsafe_hello_world", Own, Refused("hello-world bindings")),
    key("vectorize", Own, Refused("Vectorize indexes")),
    key(
        "version_metadata",
        Own,
        Deployed("version metadata bindings"),
    ),
    key("vpc_networks", Own, Refused("VPC networks")),
    key("vpc_services", Own, Refused("VPC services")),
    key(
        "wasm_modules",
        TopLevel,
        Refused("Wasm modules of service-worker scripts"),
    ),
    key("websearch", Own, Refused("Web Search")),
    key("worker_loaders", Own, Refused("Worker Loaders")),
];

/// The description of a field.
pub(crate) fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}
