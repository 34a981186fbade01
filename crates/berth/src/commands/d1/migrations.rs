//! `berth d1 migrations`: files that are run in the order of their names, each once and in one transaction
//! with the note that it was, in the table that wrangler uses.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use berth_client::Client;
use berth_error::{Report, ResultExt as _};
use serde_json::{Value, json};

use super::execute::query;
use crate::cli::{D1MigrationsCommand, DataArgs, MigrationsOf, SureArgs};
use crate::deploy::source;
use crate::paths::Paths;
use crate::{answer, printer, remote};

const DIRECTORY: &str = "migrations";
const TABLE: &str = "d1_migrations";

pub(super) async fn run(command: D1MigrationsCommand, paths: &Paths) -> Result<ExitCode, Report> {
    match command {
        D1MigrationsCommand::Create { of, message } => create(&Migrations::find(&of)?, &message),
        D1MigrationsCommand::List { of, data } => list(&Migrations::find(&of)?, &data, paths).await,
        D1MigrationsCommand::Apply { of, sure, data } => {
            apply(&Migrations::find(&of)?, &sure, &data, paths).await
        }
    }
}

/// Where they are, and where it is noted which were run.
struct Migrations {
    /// Name or id.
    database: String,
    directory: PathBuf,
    table: String,
}

impl Migrations {
    /// What flags do not say is in the project's configuration, if there is one.
    fn find(of: &MigrationsOf) -> Result<Self, Report> {
        let mut found = Self {
            database: of.database.clone(),
            directory: of.project.cwd.join(DIRECTORY),
            table: TABLE.to_owned(),
        };
        let has_file = ["wrangler.jsonc", "wrangler.json", "wrangler.toml"]
            .iter()
            .any(|name| of.project.cwd.join(name).exists());
        if of.project.config.is_some() || has_file {
            found.read(&of.project)?;
        }
        if let Some(directory) = &of.dir {
            found.directory.clone_from(directory);
        }
        if let Some(table) = &of.table {
            found.table.clone_from(table);
        }
        Ok(found)
    }

    fn read(&mut self, args: &crate::cli::ProjectArgs) -> Result<(), Report> {
        let project = source::project(args)?;
        let written = project
            .written
            .get("d1_databases")
            .and_then(Value::as_array);
        let mut databases = written.into_iter().flatten();
        let found = databases.find(|one| {
            let fields = ["database_name", "database_id", "binding"];
            fields.iter().any(|field| one[*field] == *self.database)
        });
        self.directory = project.root.join(DIRECTORY);
        let Some(found) = found else {
            return Ok(());
        };
        let text = |name: &str| found[name].as_str();
        if let Some(directory) = text("migrations_dir") {
            self.directory = project.root.join(directory);
        }
        if let Some(table) = text("migrations_table") {
            table.clone_into(&mut self.table);
        }
        if let Some(database) = text("database_id").or_else(|| text("database_name")) {
            database.clone_into(&mut self.database);
        }
        Ok(())
    }

    /// The files, in their order.
    fn files(&self) -> Result<Vec<String>, Report> {
        let entries = match fs_err::read_dir(&self.directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error).context("could not read the migrations"),
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.context("could not read the migrations")?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if Path::new(&name).extension().is_some_and(|end| end == "sql") {
                names.push(name);
            }
        }
        // `2_b.sql` is before `10_a.sql`.
        names.sort_by_key(|name| (number(name).unwrap_or(u64::MAX), name.clone()));
        Ok(names)
    }

    /// Those that have not been run.
    async fn open(&self, client: &Client) -> Result<Vec<String>, Report> {
        let sql = format!(
            "CREATE TABLE IF NOT EXISTS {table} (\n\
             id INTEGER PRIMARY KEY AUTOINCREMENT,\nname TEXT UNIQUE,\n\
             applied_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP NOT NULL\n);\n\
             SELECT name FROM {table};",
            table = quoted(&self.table),
        );
        let results = query(client, &self.database, &sql).await?;
        let rows = results.last().and_then(|last| last["results"].as_array());
        let done: BTreeSet<&str> = rows
            .into_iter()
            .flatten()
            .filter_map(|row| row["name"].as_str())
            .collect();
        let mut files = self.files()?;
        files.retain(|name| !done.contains(name.as_str()));
        Ok(files)
    }
}

/// A name in SQL.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// The number that a file's name begins with.
fn number(name: &str) -> Option<u64> {
    let digits = name.bytes().take_while(u8::is_ascii_digit).count();
    name[..digits].parse().ok()
}

fn create(of: &Migrations, message: &str) -> Result<ExitCode, Report> {
    let files = of.files()?;
    let last = files.iter().filter_map(|name| number(name)).max();
    let next = last.unwrap_or(0) + 1;
    let words = message.trim().replace([' ', '/'], "_");
    let file = of.directory.join(format!("{next:04}_{words}.sql"));
    fs_err::create_dir_all(&of.directory).context("could not make the directory")?;
    let text = format!("-- Migration number: {next:04}\n");
    fs_err::write(&file, text).context("could not write the migration")?;
    printer::line(file.display().to_string());
    Ok(ExitCode::SUCCESS)
}

async fn list(of: &Migrations, data: &DataArgs, paths: &Paths) -> Result<ExitCode, Report> {
    let client = remote::connect(&data.server, paths)?;
    let open = of.open(&client).await?;
    let open = open.into_iter().map(|name| json!({"name": name}));
    answer::list(data, open.collect(), ["NOT RUN YET"], |one| {
        [answer::text(&one["name"])]
    })
}

async fn apply(
    of: &Migrations,
    sure: &SureArgs,
    data: &DataArgs,
    paths: &Paths,
) -> Result<ExitCode, Report> {
    let client = remote::connect(&data.server, paths)?;
    let open = of.open(&client).await?;
    let question = format!("Run {} on `{}`?", open.join(", "), of.database);
    if !open.is_empty() && !answer::agreed(&question, sure, data.json)? {
        return Ok(ExitCode::SUCCESS);
    }
    for name in &open {
        let file = fs_err::read_to_string(of.directory.join(name));
        let sql = file.context("could not read a migration")?;
        let sql = format!(
            "{sql}\n;INSERT INTO {} (name) VALUES ('{}');",
            quoted(&of.table),
            name.replace('\'', "''")
        );
        let ran = query(&client, &of.database, &sql).await;
        ran.context(format!("`{name}` fails; it has changed nothing"))?;
        if !data.json {
            printer::line(format!("ran `{name}`"));
        }
    }
    answer::done(data, &json!({"applied": open}), || match open.len() {
        0 => "there is nothing to run".to_owned(),
        count => format!("{count} of them"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_have_an_order_and_the_next_one_a_number() {
        let directory = tempfile::tempdir().unwrap();
        let of = Migrations {
            database: "d".to_owned(),
            directory: directory.path().join("migrations"),
            table: TABLE.to_owned(),
        };
        assert!(of.files().unwrap().is_empty(), "there need not be any");
        create(&of, "first one").unwrap();
        for name in ["10_b.sql", "9_c.sql", "x.sql", "note.txt"] {
            fs_err::write(of.directory.join(name), "").unwrap();
        }
        let files = of.files().unwrap();
        let wanted = ["0001_first_one.sql", "9_c.sql", "10_b.sql", "x.sql"];
        assert_eq!(files, wanted);
        create(&of, "next").unwrap();
        assert!(of.directory.join("0011_next.sql").exists());
        assert_eq!(quoted("a\"b"), "\"a\"\"b\"");
    }
}
