//! D1 databases and what is in them: the data of live Workers.

mod split;
pub(super) mod transfer;

use axum::extract::{Path, Query, State};
use berth_control::resources::Database;
use bytes::Bytes;
use http::{Method, StatusCode};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::settings::parse;
use super::workers::Named;
use crate::Api;
use crate::data::{administer, ask, json as answered, request};
use crate::envelope::{Answer, paged, result};
use crate::failure::Failure;
use crate::guard::blocking;

/// SQL that fails.
const SQL: u32 = 7500;

#[derive(Deserialize)]
struct Info {
    file_size: u64,
    num_tables: u64,
}

fn described(database: &Database) -> Value {
    json!({
        "uuid": database.uuid,
        "name": database.name,
        "version": "production",
        "created_at": database.created,
        "read_replication": {"mode": "disabled"},
    })
}

#[derive(Deserialize, JsonSchema)]
pub(super) struct Page {
    page: Option<usize>,
    per_page: Option<usize>,
    name: Option<String>,
}

/// `GET database`: by name.
pub(super) async fn list(State(api): State<Api>, Query(page): Query<Page>) -> Answer {
    let control = api.control.clone();
    let all = blocking(move || control.databases()).await?;
    let name = page.name.unwrap_or_default();
    let found = all.iter().filter(|database| database.name.contains(&name));
    paged(found.map(described).collect(), page.page, page.per_page)
}

#[derive(Deserialize, JsonSchema)]
pub(super) struct NewDatabase {
    name: String,
}

/// `POST database`.
pub(super) async fn create(State(api): State<Api>, body: Bytes) -> Answer {
    let new: NewDatabase = parse(&body)?;
    let control = api.control.clone();
    let made = blocking(move || control.create_database(&new.name)).await?;
    result(described(&made))
}

/// `GET database/{id}`, by id or name.
pub(super) async fn one(State(api): State<Api>, Path((_, id)): Named) -> Answer {
    let database = find(&api, &id).await?;
    let info: Info = admin(&api, &database, "info", &Value::Null).await?;
    let mut described = described(&database);
    described["file_size"] = info.file_size.into();
    described["num_tables"] = info.num_tables.into();
    described["running_in_region"] = api.runtime.location().into();
    result(described)
}

/// `DELETE database/{id}`: with all that is in it.
pub(super) async fn delete(State(api): State<Api>, Path((_, id)): Named) -> Answer {
    let control = api.control.clone();
    let gone = blocking(move || control.delete_database(&id)).await?;
    let _: Value = admin(&api, &gone, "forget", &Value::Null).await?;
    result(Value::Null)
}

/// Statements, or one with parameters.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Sql {
    sql: Option<String>,
    params: Option<Vec<Value>>,
    batch: Option<Vec<Statement>>,
}

#[derive(Deserialize, JsonSchema)]
struct Statement {
    sql: String,
    #[serde(default)]
    params: Vec<Value>,
}

impl Sql {
    fn statements(self) -> Result<Vec<Value>, Failure> {
        if let Some(batch) = self.batch {
            let batch = batch.into_iter();
            return Ok(batch
                .map(|one| json!({"sql": one.sql, "params": one.params}))
                .collect());
        }
        let sql = self
            .sql
            .ok_or_else(|| Failure::bad_request("`sql` is missing"))?;
        let params = self.params.unwrap_or_default();
        let statements = split::statements(&sql);
        if !params.is_empty() && statements.len() > 1 {
            let text = "`params` belong to one statement, and there are several";
            return Err(Failure::bad_request(text));
        }
        let statements = statements.into_iter();
        Ok(statements
            .map(|sql| json!({"sql": sql, "params": params}))
            .collect())
    }
}

/// `POST query`: a result with objects for each statement.
pub(super) async fn query(State(api): State<Api>, Path((_, id)): Named, body: Bytes) -> Answer {
    let database = find(&api, &id).await?;
    let statements = parse::<Sql>(&body)?.statements()?;
    result(run(&api, &database, &statements, "").await?)
}

/// `POST raw`: a result with rows for each statement.
pub(super) async fn raw(State(api): State<Api>, Path((_, id)): Named, body: Bytes) -> Answer {
    let database = find(&api, &id).await?;
    let statements = parse::<Sql>(&body)?.statements()?;
    result(
        run(
            &api,
            &database,
            &statements,
            "?resultsFormat=ROWS_AND_COLUMNS",
        )
        .await?,
    )
}

/// Runs statements in one transaction.
async fn run(
    api: &Api,
    database: &Database,
    statements: &[Value],
    format: &str,
) -> Result<Vec<Value>, Failure> {
    let refused = |text: &str| Failure::new(StatusCode::BAD_REQUEST, SQL, text);
    if statements.is_empty() {
        return Err(refused("there is no statement in it"));
    }
    let body = Value::Array(statements.to_vec()).to_string();
    let request = request(Method::POST, &format!("/query{format}"), body)?;
    let response = ask(api, &["d1", &database.uuid], request).await?;
    match answered::<Value>(&response)? {
        Value::Array(results) => Ok(results),
        failed => Err(refused(
            failed["error"].as_str().unwrap_or("the query failed"),
        )),
    }
}

async fn admin<T: serde::de::DeserializeOwned>(
    api: &Api,
    database: &Database,
    verb: &str,
    body: &Value,
) -> Result<T, Failure> {
    let what = ("d1", verb, database.uuid.as_str());
    administer(api, what, Method::POST, body.to_string()).await
}

async fn find(api: &Api, id: &str) -> Result<Database, Failure> {
    let (control, id) = (api.control.clone(), id.to_owned());
    blocking(move || control.database(&id)).await
}
