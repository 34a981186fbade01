//! Taking over what a daemon before has left: a container, and the sidecar that it had joined.

use std::sync::Arc;

use berth_engine::{Kept, Lost};
use serde_json::Value;

use crate::api::Api;
use crate::sidecar::{Sidecar, SidecarRecord};

/// Takes them over. Those that cannot be are ended, and returned with the reason.
pub(crate) async fn adopt(api: &Arc<Api>, all: Vec<Kept>) -> Vec<Lost> {
    let mut lost = Vec::new();
    for kept in all {
        let (name, display_name) = (kept.info().name.clone(), kept.info().display_name.clone());
        if let Err(reason) = adopt_one(api, kept).await {
            lost.push(Lost {
                display_name: Some(display_name),
                name: Some(name),
                reason,
            });
        }
    }
    lost
}

async fn adopt_one(api: &Arc<Api>, kept: Kept) -> Result<(), String> {
    let sidecar = match sidecar(api, &kept).await {
        Ok(sidecar) => sidecar,
        Err(reason) => {
            api.engine.end_kept(kept).await;
            return Err(reason);
        }
    };
    let adopted = api.engine.adopt(kept).await;
    if let (Err(_), Some(sidecar)) = (&adopted, &sidecar) {
        api.sidecars.remove(sidecar);
    }
    adopted
        .map(drop)
        .map_err(|error| berth_error::chain(&error))
}

/// The sidecar that it had joined, if it had one.
async fn sidecar(api: &Arc<Api>, kept: &Kept) -> Result<Option<Arc<Sidecar>>, String> {
    if *kept.companion() == Value::Null {
        return Ok(None);
    }
    let record: SidecarRecord = serde_json::from_value(kept.companion().clone())
        .map_err(|error| format!("the record of its sidecar cannot be read: {error}"))?;
    let (name, network) = (record.name.clone(), Arc::clone(kept.network()));
    let container = &kept.info().name;
    let adopted = api.sidecars.adopt(api, record, network, container).await;
    match adopted.map_err(|error| error.message)? {
        Some(sidecar) => Ok(Some(sidecar)),
        None => Err(format!("another container has its sidecar `{name}`")),
    }
}
