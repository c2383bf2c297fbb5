//! The rules of `forget`, named as in restic.

use crate::operation::forget::{Amount, Policy, Reach};

/// The name of every rule, for clap, and of what may stand without a rule and without a snapshot's name.
pub(super) const NAMES: [&str; 16] = [
    "keep_last",
    "keep_hourly",
    "keep_daily",
    "keep_weekly",
    "keep_monthly",
    "keep_quarterly",
    "keep_yearly",
    "keep_within",
    "keep_within_hourly",
    "keep_within_daily",
    "keep_within_weekly",
    "keep_within_monthly",
    "keep_within_quarterly",
    "keep_within_yearly",
    "keep_tag",
    "accept_dated_back",
];

/// Rules: a snapshot that any of them keeps is kept.
#[derive(clap::Args)]
#[expect(clippy::struct_field_names, reason = "each is the name of an option")]
pub(super) struct Rules {
    /// Keep the last N snapshots; here and below, N may be `unlimited`, or -1 as in restic
    #[arg(short = 'l', long, value_name = "N", value_parser = parse_amount, allow_negative_numbers = true, help_heading = "Rules")]
    keep_last: Option<Amount>,
    /// Keep the newest snapshot of each of the last N hours that have any
    #[arg(short = 'H', long, value_name = "N", value_parser = parse_amount, allow_negative_numbers = true, help_heading = "Rules")]
    keep_hourly: Option<Amount>,
    /// The same for days
    #[arg(short = 'd', long, value_name = "N", value_parser = parse_amount, allow_negative_numbers = true, help_heading = "Rules")]
    keep_daily: Option<Amount>,
    /// The same for weeks, from Monday on
    #[arg(short = 'w', long, value_name = "N", value_parser = parse_amount, allow_negative_numbers = true, help_heading = "Rules")]
    keep_weekly: Option<Amount>,
    /// The same for months
    #[arg(short = 'm', long, value_name = "N", value_parser = parse_amount, allow_negative_numbers = true, help_heading = "Rules")]
    keep_monthly: Option<Amount>,
    /// The same for quarters of a year
    #[arg(long, value_name = "N", value_parser = parse_amount, allow_negative_numbers = true, help_heading = "Rules")]
    keep_quarterly: Option<Amount>,
    /// The same for years
    #[arg(short = 'y', long, value_name = "N", value_parser = parse_amount, allow_negative_numbers = true, help_heading = "Rules")]
    keep_yearly: Option<Amount>,
    /// Keep all snapshots that are not older than this before the newest, such as 1y5m7d2h
    #[arg(long, value_name = "DURATION", value_parser = parse_reach, help_heading = "Rules")]
    keep_within: Option<Reach>,
    /// Keep one snapshot an hour of those that are not older than this before the newest
    #[arg(long, value_name = "DURATION", value_parser = parse_reach, help_heading = "Rules")]
    keep_within_hourly: Option<Reach>,
    /// The same for days
    #[arg(long, value_name = "DURATION", value_parser = parse_reach, help_heading = "Rules")]
    keep_within_daily: Option<Reach>,
    /// The same for weeks
    #[arg(long, value_name = "DURATION", value_parser = parse_reach, help_heading = "Rules")]
    keep_within_weekly: Option<Reach>,
    /// The same for months
    #[arg(long, value_name = "DURATION", value_parser = parse_reach, help_heading = "Rules")]
    keep_within_monthly: Option<Reach>,
    /// The same for quarters of a year
    #[arg(long, value_name = "DURATION", value_parser = parse_reach, help_heading = "Rules")]
    keep_within_quarterly: Option<Reach>,
    /// The same for years
    #[arg(long, value_name = "DURATION", value_parser = parse_reach, help_heading = "Rules")]
    keep_within_yearly: Option<Reach>,
    /// Keep what has this tag, or all tags of TAG,TAG; given more than once, any of them; '' means no tag
    #[arg(long, value_name = "TAG[,TAG...]", help_heading = "Rules")]
    keep_tag: Vec<String>,
}

pub(in crate::cli) fn parse_amount(text: &str) -> Result<Amount, String> {
    match text {
        "unlimited" | "-1" => Ok(Amount::Unlimited),
        _ => match text.parse() {
            Ok(0) => Err("a rule that keeps nothing is none: leave it out".to_owned()),
            Ok(number) => Ok(Amount::Number(number)),
            Err(_) => Err("give a number from 1 up, or `unlimited`".to_owned()),
        },
    }
}

pub(in crate::cli) fn parse_reach(text: &str) -> Result<Reach, String> {
    Reach::parse(text)
        .ok_or_else(|| "give years, months, weeks, days and hours, such as 1y5m7d2h or 30d".to_owned())
}

impl Rules {
    /// The rules.
    pub(super) fn policy(&self) -> Policy {
        let amounts = [
            self.keep_hourly,
            self.keep_daily,
            self.keep_weekly,
            self.keep_monthly,
            self.keep_quarterly,
            self.keep_yearly,
        ];
        let reaches = [
            self.keep_within_hourly,
            self.keep_within_daily,
            self.keep_within_weekly,
            self.keep_within_monthly,
            self.keep_within_quarterly,
            self.keep_within_yearly,
        ];
        let tags = |list: &String| list.split(',').filter(|tag| !tag.is_empty()).map(str::to_owned).collect();
        let (last, within) = (self.keep_last, self.keep_within);
        let tags = self.keep_tag.iter().map(tags).collect();
        Policy { last, within, tags, ..Policy::default() }.with_periods(amounts, reaches)
    }
}
