//! Roles that a dump names and a server has not, made as they were.
//!
//! Invariants: a role that is there is never altered. Of the SQL of `pg_dumpall` only lines of three forms are run, each of
//! which was taken apart; whatever else stands there is passed over.

use std::collections::BTreeSet;

use super::sql::identifier;

/// The roles of a server, as `pg_dumpall` writes them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Roles {
    names: BTreeSet<String>,
    /// What each may, and its password: what stands behind its name.
    attributes: Vec<(String, String)>,
    /// Which role is a member of which, and whether it may make others so.
    members: Vec<(String, String, bool)>,
}

impl Roles {
    /// Reads them.
    pub(super) fn parse(sql: &str) -> Self {
        let mut roles = Self::default();
        for line in sql.lines() {
            if let Some(name) = created(line) {
                roles.names.insert(name);
            } else if let Some(attributes) = altered(line) {
                roles.attributes.push(attributes);
            } else if let Some(member) = granted(line) {
                roles.members.push(member);
            }
        }
        roles
    }

    /// Those that are not there.
    pub(super) fn missing(&self, there: &BTreeSet<String>) -> Vec<String> {
        self.names.difference(there).cloned().collect()
    }

    /// The statements that make these, all of them or none.
    pub(super) fn making(&self, missing: &[String], there: &BTreeSet<String>) -> String {
        let is_made = |name: &String| missing.contains(name);
        let created = missing.iter().map(|name| format!("CREATE ROLE {};\n", identifier(name)));
        let altered = self.attributes.iter().filter(|(name, _)| is_made(name));
        let altered = altered.map(|(name, rest)| format!("ALTER ROLE {} WITH {rest};\n", identifier(name)));
        let members = self
            .members
            .iter()
            .filter(|(group, member, _)| is_made(member) && (is_made(group) || there.contains(group)));
        let granted = members.map(|(group, member, may_grant)| {
            let more = if *may_grant { " WITH ADMIN OPTION" } else { "" };
            format!("GRANT {} TO {}{more};\n", identifier(group), identifier(member))
        });
        let all: String = created.chain(altered).chain(granted).collect();
        format!("BEGIN;\n{all}COMMIT;")
    }
}

fn created(line: &str) -> Option<String> {
    let (name, rest) = name(line.strip_prefix("CREATE ROLE ")?)?;
    (rest == ";").then_some(name)
}

fn altered(line: &str) -> Option<(String, String)> {
    let (name, rest) = name(line.strip_prefix("ALTER ROLE ")?)?;
    let rest = rest.strip_prefix(" WITH ")?.strip_suffix(';')?;
    // Attributes, a hash, a time: nothing in them ends a statement, begins a comment or speaks to psql.
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b" _$:=+/'.,-".contains(&byte);
    let is_sound = rest.bytes().all(is_plain) && !rest.contains("--") && !rest.contains("/*");
    let quotes = rest.bytes().filter(|byte| *byte == b'\'').count();
    (is_sound && quotes.is_multiple_of(2)).then(|| (name, rest.to_owned()))
}

fn granted(line: &str) -> Option<(String, String, bool)> {
    let (group, rest) = name(line.strip_prefix("GRANT ")?)?;
    let (member, rest) = name(rest.strip_prefix(" TO ")?)?;
    let ends = rest.ends_with(';') && rest.len() == rest.trim_end_matches(';').len().saturating_add(1);
    let may_grant = rest.contains(" WITH ADMIN OPTION") || rest.contains("ADMIN TRUE");
    ends.then_some((group, member, may_grant))
}

/// A name at the beginning of a text, and what follows it.
fn name(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let is_plain =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_' || byte == b'$';
        let end = text.bytes().position(|byte| !is_plain(byte)).unwrap_or(text.len());
        let (name, rest) = text.split_at_checked(end)?;
        return (!name.is_empty()).then(|| (name.to_owned(), rest));
    };
    let mut name = String::new();
    let mut signs = quoted.char_indices().peekable();
    while let Some((at, sign)) = signs.next() {
        if sign != '"' {
            name.push(sign);
        } else if signs.next_if(|(_, next)| *next == '"').is_some() {
            name.push('"');
        } else {
            let rest = quoted.get(at.saturating_add(1)..)?;
            return (!name.is_empty()).then_some((name, rest));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const SQL: &str = "-- Roles\nCREATE ROLE postgres;\nALTER ROLE postgres WITH SUPERUSER PASSWORD 'SCRAM-SHA-256$4096:a+/=$b:c';\n\
        CREATE ROLE \"It's \"\"me\"\"\";\nALTER ROLE \"It's \"\"me\"\"\" WITH NOSUPERUSER LOGIN VALID UNTIL '2027-01-01 00:00:00+00';\n\
        CREATE ROLE evil; DROP DATABASE x;\nALTER ROLE postgres WITH LOGIN; DROP DATABASE x;\n\
        GRANT pg_read_all_data TO \"It's \"\"me\"\"\" WITH ADMIN OPTION GRANTED BY postgres;\nGRANT gone TO postgres;\n\
        ALTER ROLE postgres SET work_mem TO '1GB';\n";

    #[test]
    fn only_what_is_missing_is_made() {
        let roles = Roles::parse(SQL);
        let there = BTreeSet::from(["postgres".to_owned(), "pg_read_all_data".to_owned()]);
        let missing = roles.missing(&there);
        assert_eq!(missing, ["It's \"me\""]);
        assert_eq!(
            roles.making(&missing, &there),
            "BEGIN;\nCREATE ROLE \"It's \"\"me\"\"\";\n\
             ALTER ROLE \"It's \"\"me\"\"\" WITH NOSUPERUSER LOGIN VALID UNTIL '2027-01-01 00:00:00+00';\n\
             GRANT \"pg_read_all_data\" TO \"It's \"\"me\"\"\" WITH ADMIN OPTION;\nCOMMIT;"
        );
    }

    #[test]
    fn what_is_more_than_a_role_is_passed_over() {
        for line in [
            "CREATE ROLE a; DROP ROLE b;",
            "CREATE ROLE a",
            "CREATE ROLE \"a;",
            "ALTER ROLE a WITH LOGIN; DROP DATABASE x;",
            "ALTER ROLE a WITH LOGIN -- x;",
            "ALTER ROLE a WITH PASSWORD 'x;",
            "ALTER ROLE a WITH PASSWORD 'x\\';",
            "GRANT a TO b; DROP ROLE b;",
            "GRANT a TO b",
            "\\! date",
        ] {
            let roles = Roles::parse(line);
            let there = BTreeSet::new();
            let made = roles.making(&["a".to_owned(), "b".to_owned()], &there);
            assert!(!made.contains("DROP") && !made.contains("WITH") && !made.contains("date"), "{made}");
            assert!(roles.names.is_empty(), "{line}");
        }
    }
}
