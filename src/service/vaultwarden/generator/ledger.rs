//! Tables of our own that show whether a copy of the database holds whole transactions only.
//!
//! Invariant: between commits the amounts of both tables come to [`SUM`], and the counter has risen by
//! one for each commit since the ledger began. Each table covers several pages, so that a copy torn
//! between pages breaks the sum. No Vaultwarden has these tables; they exist where a test asks for them.

use rusqlite::Connection;

use super::random::Random;
use super::rows::signed;

/// What all amounts come to.
pub(super) const SUM: i64 = 2 * ROWS * 1000;

/// Rows in each table.
const ROWS: i64 = 100;

/// Creates the tables in one transaction.
pub(super) fn create(connection: &Connection) -> rusqlite::Result<()> {
    let transaction = connection.unchecked_transaction()?;
    transaction.execute_batch(
        "CREATE TABLE strongroom_ledger_a (id INTEGER PRIMARY KEY, amount INTEGER NOT NULL, padding BLOB NOT NULL);
         CREATE TABLE strongroom_ledger_b (id INTEGER PRIMARY KEY, amount INTEGER NOT NULL, padding BLOB NOT NULL);
         CREATE TABLE strongroom_ledger_counter (id INTEGER PRIMARY KEY CHECK (id = 1), commits INTEGER NOT NULL);
         INSERT INTO strongroom_ledger_counter VALUES (1, 0);",
    )?;
    for id in 1..=ROWS {
        for table in ["a", "b"] {
            transaction.execute(
                &format!("INSERT INTO strongroom_ledger_{table} VALUES (?1, 1000, zeroblob(400))"),
                [id],
            )?;
        }
    }
    transaction.commit()
}

/// Tells whether the tables are there.
pub(super) fn exists(connection: &Connection) -> rusqlite::Result<bool> {
    connection.query_row(
        "SELECT EXISTS (SELECT 1 FROM sqlite_master WHERE name = 'strongroom_ledger_counter')",
        [],
        |row| row.get(0),
    )
}

/// Moves an amount from a row of one table to a row of the other and counts the commit to come.
pub(super) fn turn(connection: &Connection, random: &mut Random) -> rusqlite::Result<()> {
    let row = |random: &mut Random| signed(random.below(100)) + 1;
    let amount = signed(random.below(41)) - 20;
    connection
        .prepare_cached("UPDATE strongroom_ledger_a SET amount = amount - ?1 WHERE id = ?2")?
        .execute((amount, row(random)))?;
    connection
        .prepare_cached("UPDATE strongroom_ledger_b SET amount = amount + ?1 WHERE id = ?2")?
        .execute((amount, row(random)))?;
    connection.prepare_cached("UPDATE strongroom_ledger_counter SET commits = commits + 1")?.execute([])?;
    Ok(())
}
