//! SQL files to and from a database. wrangler sends and fetches them at addresses that need no token, so
//! that an address is a secret of its own, for an hour, and of no use without the call that asked for it.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use md5::{Digest as _, Md5};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{admin, find, run, split};
use crate::Api;
use crate::envelope::{Answer, result};
use crate::failure::Failure;
use crate::routes::settings::parse;
use crate::routes::workers::Named;

/// How long an address is good for.
const LIFETIME: Duration = Duration::from_secs(60 * 60);
/// Addresses at the same time.
const MOST: usize = 64;

/// Files under way.
#[derive(Debug, Default)]
pub(crate) struct Transfers {
    files: Mutex<HashMap<String, File>>,
}

#[derive(Debug)]
struct File {
    database: String,
    etag: String,
    content: Option<Bytes>,
    made: Instant,
}

impl Transfers {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, File>> {
        // Entries are whole at every step.
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, database: &str, etag: String, content: Option<Bytes>) -> String {
        let mut files = self.lock();
        files.retain(|_, file| file.made.elapsed() < LIFETIME);
        while files.len() >= MOST {
            let oldest = files.iter().min_by_key(|(_, file)| file.made);
            let Some(oldest) = oldest.map(|(id, _)| id.clone()) else {
                break;
            };
            files.remove(&oldest);
        }
        let id = berth_control::resources::secret_id();
        let file = File {
            database: database.to_owned(),
            etag,
            content,
            made: Instant::now(),
        };
        files.insert(id.clone(), file);
        id
    }
}

/// `POST import`: asks for an address, or for what was sent there to be run.
#[derive(Deserialize, JsonSchema)]
pub(in crate::routes) struct Import {
    action: String,
    etag: Option<String>,
    filename: Option<String>,
}

pub(in crate::routes) async fn import(
    State(api): State<Api>,
    Path((_, id)): Named,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    let request: Import = parse(&body)?;
    let database = find(&api, &id).await?;
    let missing = |field: &str| Failure::bad_request(format!("`{field}` is missing"));
    match request.action.as_str() {
        "init" => {
            let etag = request.etag.ok_or_else(|| missing("etag"))?;
            let id = api
                .transfers
                .add(&database.uuid, etag.to_ascii_lowercase(), None);
            let address = address(&headers, &id);
            result(json!({
                "success": true, "type": "import", "messages": [],
                "upload_url": address, "filename": id,
            }))
        }
        "ingest" => {
            let filename = request.filename.ok_or_else(|| missing("filename"))?;
            let sent = api.transfers.lock().remove(&filename);
            let sent = sent.filter(|file| file.database == database.uuid);
            let content = sent.and_then(|file| file.content);
            let content = content.ok_or_else(|| {
                Failure::bad_request(format!("no file `{filename}` has been sent"))
            })?;
            let sql = String::from_utf8(content.to_vec())
                .map_err(|_| Failure::bad_request("the file is not UTF-8"))?;
            let statements = split::statements(&sql);
            let count = statements.len();
            let statements: Vec<Value> = statements.iter().map(|sql| json!({"sql": sql})).collect();
            let results = run(&api, &database, &statements, "").await?;
            result(imported(&results, count))
        }
        // It is complete when it is answered: nobody needs to ask again.
        action => Err(Failure::bad_request(format!(
            "`action` is `{action}`, not `init` or `ingest`"
        ))),
    }
}

fn imported(results: &[Value], count: usize) -> Value {
    let sum = |field: &str| -> f64 {
        let values = results.iter().filter_map(|one| one["meta"][field].as_f64());
        values.sum()
    };
    let size = results
        .last()
        .map_or(Value::Null, |last| last["meta"]["size_after"].clone());
    json!({
        "success": true,
        "type": "import",
        "status": "complete",
        "messages": [],
        "errors": [],
        "at_bookmark": "0",
        "result": {
            "final_bookmark": "0",
            "num_queries": count,
            "meta": {
                "duration": sum("duration"),
                "rows_read": sum("rows_read"),
                "rows_written": sum("rows_written"),
                "size_after": size,
            },
        },
    })
}

/// `POST export`: the database as SQL, at an address.
#[derive(Deserialize, JsonSchema)]
pub(in crate::routes) struct Export {
    #[serde(default)]
    dump_options: DumpOptions,
}

#[derive(Default, Deserialize, JsonSchema)]
struct DumpOptions {
    #[serde(default)]
    no_schema: bool,
    #[serde(default)]
    no_data: bool,
    #[serde(default)]
    tables: Vec<String>,
}

#[derive(Deserialize)]
struct Dump {
    sql: Option<Vec<String>>,
    error: Option<String>,
}

pub(in crate::routes) async fn export(
    State(api): State<Api>,
    Path((_, id)): Named,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    let Export {
        dump_options: options,
    } = parse(&body)?;
    let database = find(&api, &id).await?;
    let options = json!({
        "no_schema": options.no_schema, "no_data": options.no_data, "tables": options.tables,
    });
    let dump: Dump = admin(&api, &database, "dump", &options).await?;
    let Some(sql) = dump.sql else {
        let text = dump
            .error
            .unwrap_or_else(|| "the database cannot be exported".to_owned());
        return Err(Failure::new(StatusCode::BAD_REQUEST, super::SQL, text));
    };
    let content = Bytes::from(sql.join("\n") + "\n");
    let etag = digest(&content);
    let id = api.transfers.add(&database.uuid, etag, Some(content));
    let address = address(&headers, &id);
    result(json!({
        "success": true, "type": "export", "status": "complete", "at_bookmark": "0", "messages": [],
        "result": {"filename": format!("{}.sql", database.name), "signed_url": address},
    }))
}

/// `PUT transfers/{id}`: a file for an import.
pub(in crate::routes) async fn put(
    State(api): State<Api>,
    Path(id): Path<String>,
    content: Bytes,
) -> Answer {
    let found = digest(&content);
    let mut files = api.transfers.lock();
    let file = files.get_mut(&id).filter(|file| file.content.is_none());
    let file = file.ok_or_else(gone)?;
    if file.etag != found {
        let text = format!("the file's MD5 is {found}, not {}", file.etag);
        return Err(Failure::bad_request(text));
    }
    file.content = Some(content);
    let mut response = result(Value::Null)?;
    if let Ok(etag) = format!("\"{found}\"").parse() {
        response.headers_mut().insert(header::ETAG, etag);
    }
    Ok(response)
}

/// `GET transfers/{id}`: what an export has made, once.
pub(in crate::routes) async fn get(State(api): State<Api>, Path(id): Path<String>) -> Answer {
    let file = api.transfers.lock().remove(&id);
    let content = file.and_then(|file| file.content).ok_or_else(gone)?;
    let kind = [(header::CONTENT_TYPE, "application/sql")];
    let response: Response = (kind, content).into_response();
    Ok(response)
}

fn gone() -> Failure {
    Failure::new(
        StatusCode::NOT_FOUND,
        10_001,
        "there is no such transfer, or no more",
    )
}

fn digest(content: &[u8]) -> String {
    let digest = Md5::digest(content);
    digest
        .iter()
        .fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

/// Where the client reaches this API, as it says itself.
fn address(headers: &HeaderMap, id: &str) -> String {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let host = header("host").unwrap_or("localhost");
    let scheme = header("x-forwarded-proto").unwrap_or("http");
    format!("{scheme}://{host}/client/v4/transfers/{id}")
}
