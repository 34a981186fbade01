//! `instance_type`: named sizes, and sizes of one's own.

use std::collections::BTreeMap;

use super::field::{Field, Fields};
use super::nearest::{list, nearest};
use crate::Resources;
use crate::value::Kind;

/// The named sizes, as wrangler 4.164 knows them; `dev` and `standard` are old names that it warns of.
const INSTANCE_TYPES: &[(&str, Resources)] = &[
    ("lite", size(0.0625, 256, 2_000)),
    ("basic", size(0.25, 1_024, 4_000)),
    ("standard-1", size(0.5, 4_096, 8_000)),
    ("standard-2", size(1.0, 6_144, 12_000)),
    ("standard-3", size(2.0, 8_192, 16_000)),
    ("standard-4", size(4.0, 12_288, 20_000)),
    ("dev", size(0.0625, 256, 2_000)),
    ("standard", size(0.5, 4_096, 8_000)),
];

/// The named sizes of a server: the built-in ones, and what its `[instance_types]` adds or changes.
#[derive(Clone, Debug, PartialEq)]
pub struct InstanceTypes(BTreeMap<String, Resources>);

impl InstanceTypes {
    /// The size behind a name.
    pub fn get(&self, name: &str) -> Option<Resources> {
        self.0.get(name).copied()
    }

    /// Adds a size, or changes one.
    pub fn set(&mut self, name: &str, size: Resources) {
        self.0.insert(name.to_owned(), size);
    }

    /// All of them by name, without the old names of built-in ones unless those have sizes of their own.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Resources)> {
        let all = self.0.iter().map(|(name, size)| (name.as_str(), *size));
        all.filter(|(name, size)| !is_old(name) || instance_type(name) != Some(*size))
    }
}

impl Default for InstanceTypes {
    fn default() -> Self {
        let built_in = INSTANCE_TYPES.iter();
        Self(
            built_in
                .map(|(name, size)| ((*name).to_owned(), *size))
                .collect(),
        )
    }
}

fn is_old(name: &str) -> bool {
    matches!(name, "dev" | "standard")
}

/// Whether `[instance_types]` of a server may call a size that. `custom` has another meaning.
pub(crate) fn may_be_called(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    name != "custom" && !name.is_empty() && name.bytes().all(allowed)
}

/// Least share of a CPU.
pub const MIN_VCPU: f64 = 0.0625;
/// Most CPUs.
pub const MAX_VCPU: f64 = 4.0;
/// Most memory, in MiB. Cloudflare's pages say 12 GiB today and said 16 GiB before; the wider limit
/// is taken, and no ratio between the three is asked for.
pub const MAX_MEMORY_MIB: u32 = 16_384;
/// Most disk, in MB (10^6 bytes).
pub const MAX_DISK_MB: u32 = 20_000;

/// What a file without `instance_type` gets, and what a size of one's own leaves out.
const DEFAULT: (&str, Resources) = INSTANCE_TYPES[0];

const fn size(vcpu: f64, memory_mib: u64, disk_mb: u64) -> Resources {
    Resources {
        vcpu,
        memory_mib,
        disk_mb,
    }
}

/// The resources behind a name, old names included.
pub fn instance_type(name: &str) -> Option<Resources> {
    INSTANCE_TYPES
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, resources)| *resources)
}

/// The size of one container: `instance_type` as a name or an object, the `resources` table that
/// goes with `instance_type = "custom"`, or the limits in the deprecated `configuration`.
pub(crate) fn decode(fields: &Fields<'_>, old: Option<&Fields<'_>>) -> (String, Resources) {
    let kind = fields.get("instance_type");
    let own = fields.get("resources");
    let old_limits = old.and_then(|old| old_limits(old, kind.as_ref()));
    let fallback = (DEFAULT.0.to_owned(), DEFAULT.1);
    let Some(kind) = kind else {
        return match (own, old_limits) {
            (Some(own), _) => custom(&own),
            (None, Some(limits)) => ("custom".to_owned(), limits),
            (None, None) => fallback,
        };
    };
    let is_custom = matches!(&kind.value.kind, Kind::String(name) if name == "custom");
    match (&kind.value.kind, own) {
        (Kind::Object(_), None) => custom(&kind),
        (_, Some(own)) if is_custom => custom(&own),
        (_, Some(own)) => {
            kind.cx.error(
                &own.key_span,
                format!("`{}` contradicts `{}`", own.path, kind.path),
                format!("remove it, or set `{}` to \"custom\"", kind.path),
            );
            fallback
        }
        (_, None) if is_custom => {
            kind.cx.error(
                kind.span(),
                format!("`{}` is `custom`, but no size follows", kind.path),
                "give `vcpu`, `memory_mib` and `disk_mb` in an object instead of the name",
            );
            fallback
        }
        (_, None) => named(&kind).unwrap_or(fallback),
    }
}

fn named(field: &Field<'_>) -> Option<(String, Resources)> {
    if !matches!(field.value.kind, Kind::String(_)) {
        field.cx.error(
            field.span(),
            format!(
                "`{}` must be a name or an object, but is {}",
                field.path, field.value.kind
            ),
            "for example `\"basic\"`",
        );
        return None;
    }
    let name = field.text()?;
    let Some(resources) = instance_type(&name.value) else {
        if field.cx.is_deployed() && may_be_called(&name.value) {
            // The server may have it; whoever deploys asks.
            return Some((name.value, DEFAULT.1));
        }
        let known = || {
            INSTANCE_TYPES
                .iter()
                .map(|(name, _)| *name)
                .filter(|name| !is_old(name))
        };
        field.cx.error(
            &name.span,
            format!("there is no instance type `{}`", name.value),
            match nearest(&name.value, known()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!(
                    "choose {}, or an object with `vcpu`, `memory_mib` and `disk_mb`",
                    list(known())
                ),
            },
        );
        return None;
    };
    let renamed = match name.value.as_str() {
        "dev" => Some("lite"),
        "standard" => Some("standard-1"),
        _ => None,
    };
    if let Some(new) = renamed {
        field.cx.warn(
            &name.span,
            format!("the instance type `{}` has a new name", name.value),
            format!("write `{new}`: the old name will be removed"),
        );
    }
    Some((renamed.unwrap_or(&name.value).to_owned(), resources))
}

fn custom(field: &Field<'_>) -> (String, Resources) {
    let mut resources = DEFAULT.1;
    if let Some(fields) = field.fields() {
        if let Some(vcpu) = fields.get("vcpu").and_then(|field| vcpu(&field)) {
            resources.vcpu = vcpu;
        }
        if let Some(memory) = fields.get("memory_mib").and_then(|field| memory(&field)) {
            resources.memory_mib = memory;
        }
        if let Some(disk) = fields.get("disk_mb").and_then(|field| disk(&field)) {
            resources.disk_mb = disk;
        }
        fields.finish();
    }
    ("custom".to_owned(), resources)
}

fn vcpu(field: &Field<'_>) -> Option<f64> {
    let number = field.number()?;
    if !(MIN_VCPU..=MAX_VCPU).contains(&number.value) {
        field.cx.error(
            &number.span,
            format!("`{}` is out of range: {}", field.path, number.value),
            format!("from {MIN_VCPU} to {MAX_VCPU} virtual CPUs"),
        );
        return None;
    }
    Some(number.value)
}

fn memory(field: &Field<'_>) -> Option<u64> {
    in_range(field, MAX_MEMORY_MIB, "MiB")
}

fn disk(field: &Field<'_>) -> Option<u64> {
    in_range(field, MAX_DISK_MB, "MB")
}

fn in_range(field: &Field<'_>, most: u32, unit: &str) -> Option<u64> {
    let number = field.number()?;
    if number.value.fract() != 0.0 || !(1.0..=f64::from(most)).contains(&number.value) {
        field.cx.error(
            &number.span,
            format!("`{}` is out of range: {}", field.path, number.value),
            format!("a whole number from 1 to {most} ({unit})"),
        );
        return None;
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the range was checked"
    )]
    Some(number.value as u64)
}

/// `vcpu`, `memory_mib` and `disk.size_mb` of the deprecated `configuration`.
fn old_limits(old: &Fields<'_>, kind: Option<&Field<'_>>) -> Option<Resources> {
    let vcpu_field = old.get("vcpu");
    let memory_field = old.get("memory_mib");
    let disk_field = old.get("disk");
    let first = vcpu_field
        .as_ref()
        .or(memory_field.as_ref())
        .or(disk_field.as_ref())?;
    if let Some(kind) = kind {
        first.cx.error(
            &first.key_span,
            format!("`{}` contradicts `{}`", first.path, kind.path),
            "remove it",
        );
        return None;
    }
    let mut resources = DEFAULT.1;
    if let Some(it) = vcpu_field.as_ref().and_then(vcpu) {
        resources.vcpu = it;
    }
    if let Some(it) = memory_field.as_ref().and_then(memory) {
        resources.memory_mib = it;
    }
    if let Some(fields) = disk_field.and_then(|field| field.fields()) {
        if let Some(it) = fields.get("size_mb").as_ref().and_then(disk) {
            resources.disk_mb = it;
        }
        fields.finish();
    }
    Some(resources)
}
