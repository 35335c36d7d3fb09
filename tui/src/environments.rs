//! Named environments: which one the console is in, and how it goes to another.

use bridge_shared::config::RedisArgs;
use bridge_shared::store::Store;

use crate::cli::output::CommandError;
use crate::config::{Config, Given, Profile};
use crate::console::ConsoleArgs;

/// The environments there are, and the one in force.
#[derive(Debug, Clone, Default)]
pub(crate) struct Environments {
    /// The configuration.
    pub(crate) config: Config,
    /// The one in force, where it has a name.
    pub(crate) here: Option<(String, Profile)>,
    /// The settings without a profile; none where there is only one environment.
    args: Option<RedisArgs>,
    /// Which of these were given as flags.
    given: Given,
}

impl Environments {
    /// Finds the environment that the settings ask for, and the settings for it.
    ///
    /// # Errors
    /// [`CommandError::Config`].
    pub(crate) fn find(
        console: &ConsoleArgs,
        args: &RedisArgs,
        given: Given,
    ) -> Result<(Self, RedisArgs), CommandError> {
        let file = console.config.as_deref();
        let config = Config::load(file.filter(|file| !file.as_os_str().is_empty()))?;
        let by_name = console.profile.as_deref();
        let by_name = by_name.filter(|name| !name.trim().is_empty());
        let here = config.choose(by_name)?;
        let applied = match &here {
            Some((name, profile)) => {
                config.apply((name, profile), by_name.is_some(), args, &given)?
            }
            None => args.clone(),
        };
        let environments = Self {
            config,
            here,
            args: Some(args.clone()),
            given,
        };
        Ok((environments, applied))
    }

    /// Whether nothing may be changed in the one in force.
    pub(crate) fn is_read_only(&self) -> bool {
        self.here
            .as_ref()
            .is_some_and(|(_, profile)| profile.read_only)
    }

    /// Goes to another environment. Where that cannot be, this one stays in force.
    ///
    /// # Errors
    /// [`CommandError`].
    pub(crate) fn go_to(&mut self, name: &str) -> Result<Store, CommandError> {
        let here = self.config.choose(Some(name))?;
        let (Some((_, profile)), Some(args)) = (&here, &self.args) else {
            return Err(CommandError::Said(format!(
                "there is no way to {name} from here"
            )));
        };
        let store = Store::new(
            &self
                .config
                .apply((name, profile), true, args, &self.given)?,
        )?;
        self.here = here;
        Ok(store)
    }
}
