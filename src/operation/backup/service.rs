//! The service that a backup is of, whichever it is: what is known of it before the walk, and its proof after.

use std::collections::HashMap;

use super::dumps::Dumped;
use super::vaultwarden::{self, PreparedDatabase, Unchanged};
use super::work::Work;
use super::{Options, authentik};
use crate::error::Result;
use crate::format::snapshot::ServiceReport;
use crate::report::Reporter;
use crate::service;
use crate::source::server::Row;

/// A service about to be stored.
enum Service {
    Vaultwarden(Box<vaultwarden::Vaultwarden>),
    Authentik(Box<authentik::Authentik>),
}

/// What the files of a snapshot are held against.
pub(super) enum Proof {
    Vaultwarden(service::vaultwarden::Proof),
    Authentik(service::authentik::Proof),
}

impl Proof {
    /// Takes note of a regular file of the snapshot.
    pub(super) fn observe(&mut self, place: &[u8], size: u64) {
        match self {
            Self::Vaultwarden(proof) => proof.observe(place, size),
            Self::Authentik(proof) => proof.observe(place, size),
        }
    }
}

/// What is known before the walk; nothing where the backup is of no service.
#[derive(Default)]
pub(super) struct Prepared {
    service: Option<Service>,
    pub(super) proof: Option<Proof>,
    pub(super) databases: HashMap<Vec<u8>, PreparedDatabase>,
}

/// Finds out what else must be there, from the database that was taken before any file.
pub(super) fn prepare(work: &Work<'_>, unchanged: &Unchanged<'_>, dumped: &Dumped) -> Prepared {
    if let Some((layout, with_sends)) = &work.options.vaultwarden {
        let prepared = vaultwarden::prepare(work, layout.clone(), *with_sends, unchanged, dumped);
        return Prepared {
            service: Some(Service::Vaultwarden(Box::new(prepared.service))),
            proof: prepared.proof.map(Proof::Vaultwarden),
            databases: prepared.databases,
        };
    }
    let Some(layout) = &work.options.authentik else { return Prepared::default() };
    let (service, proof) = authentik::prepare(layout.clone(), dumped, work.reporter);
    Prepared {
        service: Some(Service::Authentik(Box::new(service))),
        proof: proof.map(Proof::Authentik),
        databases: HashMap::new(),
    }
}

/// How many problems were told where the service was looked for.
pub(super) fn problems(options: &Options) -> u64 {
    let vaultwarden = options.vaultwarden.as_ref().map_or(0, |(layout, _)| layout.problems);
    vaultwarden.saturating_add(options.authentik.as_ref().map_or(0, |layout| layout.problems))
}

/// A service that was prepared and whose files are stored.
pub(super) struct Stored(Option<Service>);

impl Prepared {
    /// Parts what the walk needs from what waits for its end.
    pub(super) fn part(self) -> (Stored, Option<Proof>, HashMap<Vec<u8>, PreparedDatabase>) {
        (Stored(self.service), self.proof, self.databases)
    }
}

impl Stored {
    /// Finishes the proof; gives what the manifest keeps, and the number of problems it found.
    pub(super) fn report(
        &self,
        proof: Option<Proof>,
        other_problems: u64,
        is_known: &dyn Fn(&[u8]) -> bool,
        work: &Work<'_>,
    ) -> Option<(ServiceReport, u64)> {
        let ask = |question: &str| -> Result<Vec<Row>> { work.ask(question) };
        let reporter: &dyn Reporter = work.reporter;
        Some(match self.0.as_ref()? {
            Service::Vaultwarden(service) => {
                let proof = match proof {
                    Some(Proof::Vaultwarden(proof)) => Some(proof),
                    _ => None,
                };
                let is_no_upload =
                    |place: &[u8]| is_known(place) || work.excludes.keep_out(&service.host_of(place));
                service.report(proof, other_problems, &is_no_upload, &ask, reporter)
            }
            Service::Authentik(service) => {
                let proof = match proof {
                    Some(Proof::Authentik(proof)) => Some(proof),
                    _ => None,
                };
                service.report(proof, other_problems, &ask, reporter)
            }
        })
    }
}
