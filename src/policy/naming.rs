//! How a request for a route names the projects that it is about.
//!
//! A token that is bound to projects gets through only where every name of one can be seen, so what a rule
//! does not say is refused to it.

/// Where a request names projects, besides parameters of the path that say so themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Place {
    /// The query parameter `project`, repeated: Sentry limits its answer to these.
    Query,
    /// `id:` in the search that the query parameter `query` is: Sentry limits its list to these.
    Search,
    /// The members `projects` and `project` of a JSON body.
    Body,
    /// The release in the path, which has projects.
    Release,
    /// The release in the member `version` of a JSON body, if there is one of this name already.
    NewRelease,
    /// The issue in the path, which has one project.
    Issue,
}

impl Place {
    /// Every place.
    pub const ALL: &'static [Place] = &[
        Place::Query,
        Place::Search,
        Place::Body,
        Place::Release,
        Place::NewRelease,
        Place::Issue,
    ];

    /// The name in rule files.
    pub const fn as_str(self) -> &'static str {
        match self {
            Place::Query => "query",
            Place::Search => "search",
            Place::Body => "body",
            Place::Release => "release",
            Place::NewRelease => "new_release",
            Place::Issue => "issue",
        }
    }

    /// The place of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Place::ALL.iter().copied().find(|place| place.as_str() == name)
    }

    /// The parameters of the path that it may read.
    pub const fn parameters(self) -> &'static [&'static str] {
        match self {
            Place::Query | Place::Search | Place::Body | Place::NewRelease => &[],
            Place::Release => &["version"],
            Place::Issue => &["issue_id", "short_id"],
        }
    }
}

/// How requests for a route name projects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Naming {
    places: u8,
    /// Whether what is missing in the query is added to it.
    adds: bool,
    /// Whether it touches nothing that belongs to a project.
    nothing: bool,
    /// Whether what it does can't be held to a project, whatever it names.
    refused: bool,
}

impl Naming {
    /// By the path, or in a way that is not known.
    pub const PATH: Naming = Naming { places: 0, adds: false, nothing: false, refused: false };
    /// Not at all: it touches nothing that belongs to a project.
    pub const NOTHING: Naming = Naming { nothing: true, ..Naming::PATH };

    /// In no way that holds it to one.
    pub const REFUSED: Naming = Naming { refused: true, ..Naming::PATH };

    /// In these places.
    pub fn places(places: impl IntoIterator<Item = Place>) -> Self {
        let places = places.into_iter().fold(0, |places, place| places | 1 << place as u8);
        Naming { places, ..Naming::PATH }
    }

    /// And what is missing is added to the query.
    #[must_use]
    pub const fn adding(self) -> Self {
        Naming { adds: true, ..self }
    }

    /// Whether there are names in `place`.
    pub const fn has(self, place: Place) -> bool {
        self.places & 1 << place as u8 != 0
    }

    /// Whether what is missing in the query is added to it.
    pub const fn adds(self) -> bool {
        self.adds
    }

    /// Whether it touches nothing that belongs to a project.
    pub const fn is_nothing(self) -> bool {
        self.nothing
    }

    /// Whether what it does can't be held to a project, whatever it names.
    pub const fn is_refused(self) -> bool {
        self.refused
    }

    /// The places, for people.
    pub fn iter(self) -> impl Iterator<Item = Place> {
        Place::ALL.iter().copied().filter(move |place| self.has(*place))
    }
}
