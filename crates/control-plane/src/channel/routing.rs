//! Who is told where: by the names of the requirements that an approval waits for. This is the operator's
//! configuration, so that policy stays neutral of rooms and credentials.

use std::collections::BTreeSet;

use countersign_model::RequirementName;
use countersign_store::Destination;

/// One line of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The requirement that it is for; every one when `None`.
    pub requirement: Option<RequirementName>,
    /// Where its reviewers are told.
    pub destination: Destination,
    /// Where they are told instead while that does not work.
    pub fallback: Option<Destination>,
}

/// The table. Every line that fits is used.
#[derive(Debug, Clone, Default)]
pub(crate) struct Routing(Vec<Route>);

impl Routing {
    pub(crate) fn new(routes: Vec<Route>) -> Self {
        Self(routes)
    }

    /// Where the reviewers of an approval with these requirements are told.
    pub(crate) fn destinations(&self, requirements: &[RequirementName]) -> BTreeSet<Destination> {
        self.fitting(requirements).map(|route| route.destination.clone()).collect()
    }

    /// Where they are told while one destination does not work.
    pub(crate) fn fallbacks(
        &self,
        requirements: &[RequirementName],
        missed: &Destination,
    ) -> BTreeSet<Destination> {
        let routes = self.fitting(requirements).filter(|route| route.destination == *missed);
        routes.filter_map(|route| route.fallback.clone()).collect()
    }

    /// The rooms of a channel that anything is told in.
    pub(crate) fn rooms(&self, channel: &str) -> BTreeSet<&str> {
        let fallbacks = self.0.iter().filter_map(|route| route.fallback.as_ref());
        let destinations = self.0.iter().map(|route| &route.destination).chain(fallbacks);
        destinations.filter(|one| one.channel == channel).map(|one| one.room.as_str()).collect()
    }

    fn fitting(&self, requirements: &[RequirementName]) -> impl Iterator<Item = &Route> {
        let fits = |route: &&Route| route.requirement.as_ref().is_none_or(|name| requirements.contains(name));
        self.0.iter().filter(fits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to(channel: &str, room: &str) -> Destination {
        Destination { channel: channel.to_owned(), room: room.to_owned() }
    }

    fn route(requirement: &str, destination: Destination, fallback: Option<Destination>) -> Route {
        let requirement = (requirement != "*").then(|| requirement.parse().unwrap());
        Route { requirement, destination, fallback }
    }

    #[test]
    fn every_line_that_fits_is_used_once() {
        let routing = Routing::new(vec![
            route("*", to("hook", ""), None),
            route("two-sre", to("chat", "C1"), Some(to("mail", "sre@example.com"))),
            route("deploys", to("chat", "C1"), None),
            route("money", to("chat", "C2"), None),
        ]);
        let names = |names: &[&str]| names.iter().map(|name| name.parse().unwrap()).collect::<Vec<_>>();
        let both = names(&["two-sre", "deploys"]);
        assert_eq!(routing.destinations(&both), [to("chat", "C1"), to("hook", "")].into());
        assert_eq!(routing.destinations(&names(&["other"])), [to("hook", "")].into());
        assert_eq!(routing.fallbacks(&both, &to("chat", "C1")), [to("mail", "sre@example.com")].into());
        assert!(routing.fallbacks(&names(&["money"]), &to("chat", "C1")).is_empty());
        assert_eq!(routing.rooms("chat"), ["C1", "C2"].into());
    }
}
