//! `ssh`, `authorized_keys`, `trusted_user_ca_keys` of a container: checked as wrangler does, used
//! by deployments only. `berth exec` needs none of it.

use super::field::{Field, Fields};

/// Checks the three.
pub(crate) fn check(fields: &Fields<'_>) {
    if let Some(old) = fields.get("wrangler_ssh") {
        old.cx.warn(
            &old.key_span,
            format!("`{}` is deprecated", old.path),
            "use `ssh`",
        );
        access(&old);
    }
    if let Some(ssh) = fields.get("ssh") {
        access(&ssh);
    }
    for (name, named) in [("authorized_keys", true), ("trusted_user_ca_keys", false)] {
        if let Some(field) = fields.get(name) {
            for key in field.objects() {
                public_key(key, named);
            }
        }
    }
}

fn access(field: &Field<'_>) {
    let Some(fields) = field.fields() else {
        return;
    };
    if let Some(enabled) = fields.require("enabled") {
        enabled.boolean();
    }
    if let Some(port) = fields.get("port") {
        port.whole(1, u16::MAX.into());
    }
    fields.finish();
}

fn public_key(fields: Fields<'_>, named: bool) {
    if named {
        fields.require_text("name");
    } else {
        fields.text("name");
    }
    if let Some(key) = fields.require_text("public_key")
        && !key.value.to_lowercase().starts_with("ssh-ed25519")
    {
        fields.cx.error(
            &key.span,
            format!("`{}.public_key` is not an Ed25519 key", fields.path),
            "make one with `ssh-keygen -t ed25519`; its public half begins with `ssh-ed25519`",
        );
    }
    fields.finish();
}
