//! `postgres`: one row for each person in the table `leads` of a schema of the bridge's own,
//! upserted by the LinkedIn URL, or by the lead's id where it has none.
//!
//! The table is made, and changed by later versions, by migrations that run under an advisory
//! lock at the first batch. A batch is one statement. Where the database finds fault with a value
//! in it, the batch is halved until the rows at fault are alone; the others go in.

use std::collections::HashMap;
use std::sync::OnceLock;
use std::time::Duration;

use bridge_shared::lead::Lead;
use futures::future::{BoxFuture, FutureExt as _};
use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, SqlSafeStr as _};
use tokio::sync::Mutex;

use super::super::keys::Keys;
use super::{Enriched, Made, Sink, Verdict};

/// The schema where the route names none.
const SCHEMA: &str = "redis_bridge";
/// The migrations, in order; their place is their version. One that was released never changes.
const MIGRATIONS: [(&str, &str); 1] = [("leads", include_str!("migrations/0001_leads.sql"))];
/// Connections at most: one for each batch under way, and one to spare.
const CONNECTIONS: u32 = 3;
/// Time to get a connection.
const CONNECT: Duration = Duration::from_secs(5);
/// Time one batch may take.
const TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Debug)]
struct Postgres {
    /// Made at the first batch: a route that is only looked at connects to nothing.
    pool: OnceLock<PgPool>,
    options: PgConnectOptions,
    /// As it stands in a statement, in quotes.
    schema: String,
    upsert: String,
    /// Whether the table is known to be there.
    ready: Mutex<bool>,
}

pub(super) fn make(keys: &mut Keys<'_>) -> Option<Made> {
    let at = keys.place("url");
    let url = keys.filled("url");
    let url = keys.need("url", url, "url = \"${DATABASE_URL}\"");
    let schema = keys.text("schema");
    let name = schema.as_ref().map_or(SCHEMA, |name| name.get_ref());
    if !is_plain(name) {
        keys.wrong(
            &schema.as_ref().map_or(at.clone(), toml::Spanned::span),
            "schema must be a plain name: small letters, digits and _, at most 63",
            format!("write schema = \"{SCHEMA}\""),
        );
        return None;
    }
    let url = url?;
    let known = ["postgres://", "postgresql://"];
    let options = known
        .iter()
        .any(|scheme| url.get_ref().starts_with(scheme))
        .then(|| url.get_ref().parse::<PgConnectOptions>().ok())
        .flatten();
    let Some(options) = options else {
        keys.wrong(
            &at,
            "this is not a PostgreSQL URL",
            "write url = \"postgres://user:password@host/database\"",
        );
        return None;
    };
    Some(Made::Other(Box::new(Postgres::new(options, name))))
}

fn is_plain(name: &str) -> bool {
    let part = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let begins_well = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_');
    begins_well && name.len() <= 63 && name.chars().all(part) && !name.starts_with("pg_")
}

/// A row to be upserted, and the leads of the batch that it stands for.
struct Row {
    key: String,
    lead_id: String,
    url: Option<String>,
    lead: String,
    of: Vec<usize>,
}

impl Postgres {
    fn new(options: PgConnectOptions, schema: &str) -> Self {
        let options = options
            .application_name("redis-bridge")
            .disable_statement_logging();
        let schema = format!("\"{schema}\"");
        // A repeated lead changes nothing, not even the time.
        let upsert = format!(
            "INSERT INTO {schema}.leads AS l (key, lead_id, linkedin_url, lead)
             SELECT key, lead_id, url, lead::jsonb
             FROM unnest($1::text[], $2::text[], $3::text[], $4::text[]) AS new (key, lead_id, url, lead)
             ON CONFLICT (key) DO UPDATE
             SET lead_id = excluded.lead_id, linkedin_url = excluded.linkedin_url,
                 lead = excluded.lead, updated_at = now()
             WHERE (l.lead_id, l.lead) IS DISTINCT FROM (excluded.lead_id, excluded.lead)"
        );
        Self {
            pool: OnceLock::new(),
            options,
            schema,
            upsert,
            ready: Mutex::new(false),
        }
    }

    fn pool(&self) -> &PgPool {
        self.pool.get_or_init(|| {
            PgPoolOptions::new()
                .max_connections(CONNECTIONS)
                .acquire_timeout(CONNECT)
                .connect_lazy_with(self.options.clone())
        })
    }

    async fn save(&self, leads: &[Enriched]) -> Vec<Verdict> {
        let rows = rows(leads);
        let mut verdicts = vec![Verdict::Durable; leads.len()];
        let mut set = |rows: &[Row], verdict: &Verdict| {
            for lead in rows.iter().flat_map(|row| &row.of) {
                verdicts[*lead] = verdict.clone();
            }
        };
        if let Err(error) = self.prepare().await {
            set(&rows, &Verdict::away(error));
            return verdicts;
        }
        // Halves still to be written, the first one last.
        let mut left = vec![&rows[..]];
        while let Some(part) = left.pop() {
            match self.upsert(part).await {
                Ok(()) => {}
                Err(Trouble::Value(_)) if part.len() > 1 => {
                    let (first, second) = part.split_at(part.len() / 2);
                    left.extend([second, first]);
                }
                Err(Trouble::Value(error)) => set(part, &Verdict::Refused(error)),
                Err(Trouble::Away(error)) => {
                    let away = Verdict::away(error);
                    set(part, &away);
                    for part in left {
                        set(part, &away);
                    }
                    break;
                }
            }
        }
        verdicts
    }

    /// Makes sure that the table is there.
    async fn prepare(&self) -> Result<(), String> {
        let mut ready = self.ready.lock().await;
        if !*ready {
            match tokio::time::timeout(TIMEOUT, self.migrate()).await {
                Ok(Ok(())) => *ready = true,
                Ok(Err(MigrateError::Execute(error))) => return Err(Trouble::of(&error).words()),
                Ok(Err(MigrateError::ExecuteMigration(error, version))) => {
                    let words = Trouble::of(&error).words();
                    return Err(format!("migration {version} failed: {words}"));
                }
                Ok(Err(error)) => return Err(format!("the migrations failed: {error}")),
                Err(_) => return Err(slow("the migrations")),
            }
        }
        Ok(())
    }

    /// Runs the migrations that are missing, on a connection of their own: should they fail, the
    /// lock ends with it.
    async fn migrate(&self) -> Result<(), MigrateError> {
        let mut connection = PgConnection::connect_with(&self.options).await?;
        let mut migrator = Migrator::with_migrations(migrations(&self.schema));
        migrator.dangerous_set_table_name(format!("{}.migrations", self.schema));
        // A newer version has been here; what this one needs is there all the same.
        migrator.set_ignore_missing(true);
        // Asked first, as a user may have the schema and not the right to make one.
        let there: bool = sqlx::query_scalar("SELECT to_regnamespace($1) IS NOT NULL")
            .bind(&self.schema)
            .fetch_one(&mut connection)
            .await?;
        if !there {
            migrator.create_schema(self.schema.clone());
        }
        migrator.run_direct(None, &mut connection, false).await?;
        // Nothing hangs on a goodbye.
        let _ = connection.close().await;
        Ok(())
    }

    async fn upsert(&self, rows: &[Row]) -> Result<(), Trouble> {
        let column = |of: fn(&Row) -> &str| rows.iter().map(of).collect::<Vec<&str>>();
        let urls: Vec<Option<&str>> = rows.iter().map(|row| row.url.as_deref()).collect();
        let query = sqlx::query(AssertSqlSafe(self.upsert.clone()))
            .bind(column(|row| &row.key))
            .bind(column(|row| &row.lead_id))
            .bind(urls)
            .bind(column(|row| &row.lead))
            .execute(self.pool());
        match tokio::time::timeout(TIMEOUT, query).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => {
                let trouble = Trouble::of(&error);
                if is_missing_table(&error) {
                    *self.ready.lock().await = false;
                }
                Err(trouble)
            }
            Err(_) => Err(Trouble::Away(slow("a batch"))),
        }
    }
}

impl Sink for Postgres {
    fn write<'a>(&'a self, leads: &'a [Enriched]) -> BoxFuture<'a, Vec<Verdict>> {
        self.save(leads).boxed()
    }
}

/// The rows of a batch: of several leads with one key the last counts, as it would one after the
/// other. In the order of their keys, so that two workers never wait for each other's rows.
fn rows(leads: &[Enriched]) -> Vec<Row> {
    let mut rows: HashMap<String, Row> = HashMap::with_capacity(leads.len());
    for (index, Enriched { id, lead }) in leads.iter().enumerate() {
        // What comes out of a pipeline is always a lead.
        let url = Lead::parse(lead).ok().and_then(|lead| lead.linkedin_url());
        let key = url.clone().unwrap_or_else(|| format!("id:{id}"));
        let mut of = rows.remove(&key).map(|row| row.of).unwrap_or_default();
        of.push(index);
        let row = Row {
            key: key.clone(),
            lead_id: id.clone(),
            url,
            lead: String::from_utf8_lossy(lead).into_owned(),
            of,
        };
        rows.insert(key, row);
    }
    let mut rows: Vec<Row> = rows.into_values().collect();
    rows.sort_by(|a, b| a.key.cmp(&b.key));
    rows
}

fn migrations(schema: &str) -> Vec<Migration> {
    let migration = |(version, (name, sql)): (i64, (&'static str, &str))| {
        let sql = AssertSqlSafe(sql.replace("{schema}", schema)).into_sql_str();
        Migration::new(version, name.into(), MigrationType::Simple, sql, false)
    };
    (1..).zip(MIGRATIONS).map(migration).collect()
}

fn slow(what: &str) -> String {
    format!("{what} took longer than {} s", TIMEOUT.as_secs())
}

/// Why a statement failed.
#[derive(Debug, PartialEq, Eq)]
enum Trouble {
    /// A value in it is at fault, and will be the next time.
    Value(String),
    /// The database, the way to it, or what it lets the user do.
    Away(String),
}

impl Trouble {
    fn of(error: &sqlx::Error) -> Self {
        match error {
            sqlx::Error::Database(said) => {
                let code = said.code().unwrap_or_default();
                let words = format!("PostgreSQL says: {} (SQLSTATE {code})", said.message());
                if is_of_a_value(&code) {
                    Self::Value(words)
                } else {
                    Self::Away(words)
                }
            }
            sqlx::Error::Encode(cause) => Self::Value(cause.to_string()),
            sqlx::Error::Io(cause) => Self::Away(format!("cannot reach PostgreSQL: {cause}")),
            sqlx::Error::PoolTimedOut => Self::Away(format!(
                "cannot reach PostgreSQL within {} s",
                CONNECT.as_secs()
            )),
            other => Self::Away(other.to_string()),
        }
    }

    fn words(self) -> String {
        match self {
            Self::Value(words) | Self::Away(words) => words,
        }
    }
}

/// Whether an SQLSTATE speaks of the values of a row: 22 data exception, 23 a constraint, 54 a
/// limit, P0001 what a trigger raises. Source: PostgreSQL's manual, appendix A.
fn is_of_a_value(code: &str) -> bool {
    ["22", "23", "54", "P0001"]
        .iter()
        .any(|class| code.starts_with(class))
}

/// Whether the table or its schema is gone: 42P01 and 3F000.
fn is_missing_table(error: &sqlx::Error) -> bool {
    let said = error.as_database_error();
    let code = said.and_then(sqlx::error::DatabaseError::code);
    matches!(code.as_deref(), Some("42P01" | "3F000"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    #[test]
    fn a_person_is_one_row_and_the_last_lead_counts() {
        let lead = |id: &str, json: &'static str| Enriched {
            id: id.into(),
            lead: Bytes::from_static(json.as_bytes()),
        };
        let rows = rows(&[
            lead("3", r#"{"linkedinUrl":"https://linkedin.com/in/b"}"#),
            lead("1", r#"{"name":"Nobody"}"#),
            lead(
                "2",
                r#"{"linkedinUrl":"https://www.linkedin.com/in/b/","n":2}"#,
            ),
        ]);
        let keys: Vec<&str> = rows.iter().map(|row| row.key.as_str()).collect();
        assert_eq!(keys, ["https://www.linkedin.com/in/b", "id:1"]);
        assert_eq!(
            (rows[0].lead_id.as_str(), &rows[0].of[..]),
            ("2", &[0, 2][..])
        );
        assert!(rows[0].lead.contains("\"n\":2"));
    }

    #[test]
    fn a_schema_has_a_plain_name() {
        for name in ["leads", "_x1", SCHEMA] {
            assert!(is_plain(name), "{name}");
        }
        for name in ["", "1x", "Leads", "a\"b", "a b", "pg_x"] {
            assert!(!is_plain(name), "{name}");
        }
        assert!(!is_plain(&"x".repeat(64)));
    }

    #[test]
    fn only_the_values_of_a_row_are_held_against_it() {
        for code in ["22P05", "23514", "54000", "P0001"] {
            assert!(is_of_a_value(code), "{code}");
        }
        // Out of connections, no permission, no table, a deadlock, a read-only server.
        for code in ["53300", "42501", "42P01", "40P01", "25006", "57P01", ""] {
            assert!(!is_of_a_value(code), "{code}");
        }
    }
}
