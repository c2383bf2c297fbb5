//! Releases of authentik: `2025.10.1`, and which of them may follow which.
//!
//! authentik changes its tables when a newer release starts, and has no way back. So a snapshot goes back under the release
//! that wrote it, or a newer one of the same series; from series to series an upgrade takes one after the other.

use std::fmt;

/// A release: the year and month of its series, and the number within it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Release {
    year: u16,
    month: u16,
    /// Nothing for a tag such as `2025.10`, which is the newest of its series.
    patch: Option<u32>,
}

impl Release {
    /// Reads a tag. What names no release, such as `latest`, gives nothing.
    pub fn parse(tag: &str) -> Option<Self> {
        let tag = tag.trim();
        let tag = tag.strip_prefix("version/").or_else(|| tag.strip_prefix('v')).unwrap_or(tag);
        // What follows `-` is the architecture or a build: 2024.12.3-arm64, 2025.10.0-rc1.
        let number = tag.split(['-', '+']).next().unwrap_or(tag);
        let mut parts = number.split('.');
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        let year = parts.next().filter(|part| part.len() == 4 && digits(part))?.parse().ok()?;
        let month = parts
            .next()
            .filter(|part| digits(part))?
            .parse()
            .ok()
            .filter(|month| (1..=12).contains(month))?;
        let patch = match parts.next() {
            None => None,
            Some(part) if digits(part) => Some(part.parse().ok()?),
            Some(part) => Some(part.trim_end_matches(|last: char| !last.is_ascii_digit()).parse().ok()?),
        };
        parts.next().is_none().then_some(Self { year, month, patch })
    }

    /// Whether it needs a Redis: up to 2025.8.
    pub fn needs_redis(self) -> bool {
        self.series() < (2025, 10)
    }

    /// Whether it keeps uploaded files below `/data/media`: since 2025.12; before, below `/media`.
    pub fn keeps_media_in_data(self) -> bool {
        self.series() >= (2025, 12)
    }

    fn series(self) -> (u16, u16) {
        (self.year, self.month)
    }
}

impl fmt::Display for Release {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}", self.year, self.month)?;
        self.patch.map_or(Ok(()), |patch| write!(formatter, ".{patch}"))
    }
}

/// Why a snapshot must not go back under another release: what is wrong, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What is wrong.
    pub cause: String,
    /// The next step.
    pub hint: String,
}

/// Tells why a snapshot of one release must not be restored for another; nothing where it may, or where one of the two is
/// unknown.
pub fn refusal(snapshot: Option<&str>, target: Option<&str>) -> Option<Refusal> {
    let (snapshot, target) = (Release::parse(snapshot?)?, Release::parse(target?)?);
    // A tag without a last number means the newest of its series, whatever the other one is.
    let patches = snapshot.patch.zip(target.patch);
    let older = target.series() < snapshot.series()
        || target.series() == snapshot.series()
            && patches.is_some_and(|(snapshot, target)| target < snapshot);
    if older {
        return Some(Refusal {
            cause: format!(
                "the snapshot is of authentik {snapshot}, and the target is the older {target}, which does not know its tables"
            ),
            hint: format!("set AUTHENTIK_TAG={snapshot} at the target, and restore again"),
        });
    }
    (target.series() > snapshot.series()).then(|| Refusal {
        cause: format!(
            "the snapshot is of authentik {snapshot}, and the target is the newer {target}: authentik is upgraded one release \
             after the other"
        ),
        hint: format!(
            "set AUTHENTIK_TAG={snapshot} at the target, restore, start it, and then upgrade to each release up to {target}"
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_releases_or_nothing() {
        for (tag, shown) in [
            ("2024.12.3", "2024.12.3"),
            ("2025.10", "2025.10"),
            (" 2025.10.1 ", "2025.10.1"),
            ("2024.2.0-arm64", "2024.2.0"),
            ("2025.10.0-rc1", "2025.10.0"),
            ("2025.10.0rc", "2025.10.0"),
            ("version/2023.10.7", "2023.10.7"),
            ("v2026.2.2", "2026.2.2"),
        ] {
            assert_eq!(Release::parse(tag).unwrap().to_string(), shown, "{tag}");
        }
        for tag in [
            "",
            "latest",
            "gh-next",
            "2025",
            "2025.",
            "2025.13",
            "2025.0.1",
            "25.10.1",
            "2025.10.1.1",
            "2025.x.1",
            "2025.10.x",
            "1.2.3",
            "2025.10.99999999999",
        ] {
            assert_eq!(Release::parse(tag), None, "{tag}");
        }
    }

    #[test]
    fn releases_know_what_they_need() {
        let release = |tag| Release::parse(tag).unwrap();
        assert!(release("2025.8.4").needs_redis() && !release("2025.10.0").needs_redis());
        assert!(!release("2025.10.3").keeps_media_in_data() && release("2025.12.0").keeps_media_in_data());
        assert!(release("2025.8.4") < release("2025.10.0") && release("2025.12.1") < release("2026.2"));
    }

    #[test]
    fn a_snapshot_goes_back_under_its_own_series() {
        let refused = |snapshot, target| refusal(Some(snapshot), Some(target)).map(|refusal| refusal.cause);
        for (snapshot, target) in [
            ("2025.10.1", "2025.10.1"),
            ("2025.10.1", "2025.10.3"),
            ("2025.10.1", "2025.10"),
            ("2025.10", "2025.10.1"),
            ("2025.10.1", "latest"),
            ("latest", "2024.2"),
        ] {
            assert_eq!(refused(snapshot, target), None, "{snapshot} {target}");
        }
        for target in ["2025.10.0", "2025.8.9", "2024.12.3"] {
            assert!(refused("2025.10.1", target).unwrap().contains("older"), "{target}");
        }
        for target in ["2025.12.0", "2026.2.2"] {
            let refusal = refusal(Some("2025.10.1"), Some(target)).unwrap();
            assert!(refusal.cause.contains("newer") && refusal.hint.contains("2025.10.1"), "{refusal:?}");
        }
        assert_eq!(refusal(None, Some("2025.10.1")), None);
    }
}
