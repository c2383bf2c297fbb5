//! What the user may, as `SHOW GRANTS` says it. Triggers, routines and the like that a user must not see are left out of
//! a dump without a word, so they are looked for before.
//!
//! Invariant: what is not understood is never taken for a right that is lacking.

/// A user's grants.
#[derive(Debug, Default)]
pub(super) struct Grants {
    lines: Vec<Grant>,
    /// Whether something is granted that these lines do not tell, such as what a role has.
    more: bool,
}

#[derive(Debug)]
struct Grant {
    privileges: Vec<String>,
    /// The pattern of a database's name; nothing where it is for all.
    database: Option<String>,
}

impl Grants {
    /// Reads the lines.
    pub(super) fn parse<'a>(lines: impl Iterator<Item = &'a str>) -> Self {
        let mut grants = Self::default();
        for line in lines {
            match grant(line) {
                Some(grant) => grants.lines.push(grant),
                None => grants.more |= !line.starts_with("SET DEFAULT ROLE"),
            }
        }
        grants
    }

    /// Whether the user surely has none of these rights on a database.
    pub(super) fn surely_lack(&self, database: &str, rights: &[&str]) -> bool {
        let has = |grant: &Grant| {
            let here =
                grant.database.as_ref().is_none_or(|pattern| like(pattern.as_bytes(), database.as_bytes()));
            let right = |name: &String| name == "ALL PRIVILEGES" || rights.contains(&name.as_str());
            here && grant.privileges.iter().any(right)
        };
        !self.more && !self.lines.iter().any(has)
    }
}

/// Takes a line apart that grants something on all databases or on one; rights on single tables grant nothing here.
fn grant(line: &str) -> Option<Grant> {
    let rest = line.strip_prefix("GRANT ")?;
    let (privileges, rest) = rest.split_once(" ON ")?;
    let privileges: Vec<String> =
        privileges.split(',').map(|name| name.trim().to_ascii_uppercase()).collect();
    if rest.starts_with("*.* ") {
        return Some(Grant { privileges, database: None });
    }
    // To stand in for another user, or rights on a single routine.
    let beside = ["PROCEDURE ", "FUNCTION ", "PACKAGE "].iter().any(|word| rest.starts_with(word));
    if beside || privileges.iter().any(|name| name == "PROXY") {
        return Some(Grant { privileges: Vec::new(), database: None });
    }
    let mut database = String::new();
    let mut signs = rest.strip_prefix('`')?.chars().peekable();
    while let Some(sign) = signs.next() {
        if sign == '`' && signs.next_if_eq(&'`').is_none() {
            break;
        }
        database.push(sign);
    }
    let rest: String = signs.collect();
    let whole = rest.starts_with(".* ");
    // A right on a single table is none on the database.
    let privileges = if whole { privileges } else { Vec::new() };
    Some(Grant { privileges, database: Some(database) })
}

/// Whether a name fits a pattern with `%`, `_` and `\`.
fn like(pattern: &[u8], name: &[u8]) -> bool {
    // For each end of the name at hand, whether the pattern so far fits up to there.
    let mut fits = vec![false; name.len().saturating_add(1)];
    if let Some(first) = fits.first_mut() {
        *first = true;
    }
    let mut signs = pattern.iter();
    while let Some(sign) = signs.next() {
        let mut next = vec![false; fits.len()];
        if *sign == b'%' {
            let mut any = false;
            for (fit, before) in next.iter_mut().zip(&fits) {
                any |= *before;
                *fit = any;
            }
        } else {
            let literal =
                if *sign == b'\\' { signs.next() } else { Some(sign).filter(|sign| **sign != b'_') };
            for ((fit, before), byte) in next.iter_mut().skip(1).zip(&fits).zip(name) {
                *fit = *before && literal.is_none_or(|literal| literal.eq_ignore_ascii_case(byte));
            }
        }
        fits = next;
    }
    fits.last().copied().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grants(lines: &[&str]) -> Grants {
        Grants::parse(lines.iter().copied())
    }

    #[test]
    fn what_is_surely_lacking_is_found() {
        let usage = "GRANT USAGE ON *.* TO `app`@`%` IDENTIFIED BY PASSWORD '*x'";
        for (line, lacks) in [
            ("GRANT SELECT, LOCK TABLES ON `vault`.* TO `app`@`%`", true),
            ("GRANT SELECT, TRIGGER ON `vault`.* TO `app`@`%`", false),
            ("GRANT ALL PRIVILEGES ON `vault`.* TO `app`@`%`", false),
            ("GRANT ALL PRIVILEGES ON `va%`.* TO `app`@`%`", false),
            ("GRANT ALL PRIVILEGES ON `other`.* TO `app`@`%`", true),
            ("GRANT ALL PRIVILEGES ON `vault`.`t` TO `app`@`%`", true),
            ("GRANT SELECT, TRIGGER ON *.* TO `app`@`%`", false),
            ("GRANT ALL PRIVILEGES ON *.* TO `app`@`%` WITH GRANT OPTION", false),
            // What a role may is not told everywhere.
            ("GRANT `role`@`%` TO `app`@`%`", false),
            ("SET DEFAULT ROLE `role` FOR `app`@`%`", true),
            ("GRANT PROXY ON ''@'%' TO 'app'@'%' WITH GRANT OPTION", true),
            ("GRANT TRIGGER ON PROCEDURE `vault`.`p` TO `app`@`%`", true),
            ("something else", false),
        ] {
            assert_eq!(grants(&[usage, line]).surely_lack("vault", &["TRIGGER"]), lacks, "{line}");
        }
    }

    #[test]
    fn patterns_fit_as_the_server_takes_them() {
        for (pattern, name, fits) in [
            ("a\\_b", "a_b", true),
            ("a\\_b", "axb", false),
            ("a_b", "axb", true),
            ("%", "", true),
            ("a%b%", "axxbyy", true),
            ("a%b", "axxby", false),
            ("A", "a", true),
            ("", "a", false),
        ] {
            assert_eq!(like(pattern.as_bytes(), name.as_bytes()), fits, "{pattern} {name}");
        }
    }
}
