//! The configuration file that Oracle's SDKs and command line share (`~/.oci/config`): INI
//! sections as profiles, of which `[DEFAULT]` lends its settings to the others. It is only read,
//! and its values are never shown, since one of them may be a pass phrase.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::error::{Error, Result};

/// The profile that lends its settings to the others.
const DEFAULT: &str = "DEFAULT";

/// Where the file is by default, if there is a home directory.
pub fn default_path() -> Option<PathBuf> {
    Some(std::env::home_dir()?.join(".oci").join("config"))
}

/// One profile of a configuration file.
pub(super) struct Profile {
    path: PathBuf,
    name: String,
    own: BTreeMap<String, String>,
    lent: BTreeMap<String, String>,
}

impl Profile {
    /// Reads the file and picks the profile.
    pub(super) fn read(path: &Path, name: &str) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|source| Error::ConfigUnreadable {
            path: path.to_owned(),
            source,
        })?;
        Self::pick(path, &text, name)
    }

    fn pick(path: &Path, text: &str, name: &str) -> Result<Self> {
        let mut sections = sections(text).map_err(|line| Error::ConfigSyntax {
            path: path.to_owned(),
            line,
        })?;
        let Some(own) = sections.remove(name) else {
            let present: Vec<String> = sections.into_keys().collect();
            return Err(Error::ProfileMissing {
                path: path.to_owned(),
                profile: name.to_owned(),
                present: present.join(", "),
            });
        };
        Ok(Self {
            path: path.to_owned(),
            name: name.to_owned(),
            own,
            lent: sections.remove(DEFAULT).unwrap_or_default(),
        })
    }

    /// The value of a setting, if it is there and not empty.
    pub(super) fn get(&self, setting: &str) -> Option<&str> {
        self.get_own(setting)
            .or_else(|| self.lent.get(setting).map(String::as_str))
            .filter(|value| !value.is_empty())
    }

    /// The same, without what `[DEFAULT]` lends.
    pub(super) fn get_own(&self, setting: &str) -> Option<&str> {
        self.own.get(setting).map(String::as_str)
    }

    /// The value of a setting that must be there.
    pub(super) fn require(&self, setting: &'static str) -> Result<&str> {
        self.get(setting).ok_or_else(|| Error::SettingMissing {
            path: self.path.clone(),
            profile: self.name.clone(),
            setting,
        })
    }

    /// The file a setting names, with `~` replaced by the home directory.
    pub(super) fn file(&self, setting: &'static str) -> Result<PathBuf> {
        let named = self.require(setting)?;
        match named.strip_prefix("~/") {
            None => Ok(PathBuf::from(named)),
            Some(rest) => std::env::home_dir()
                .map(|home| home.join(rest))
                .ok_or_else(|| self.invalid(setting, "there is no home directory for its ~")),
        }
    }

    /// The content of the file a setting names.
    pub(super) fn file_content(&self, setting: &'static str) -> Result<String> {
        let file = self.file(setting)?;
        std::fs::read_to_string(&file).map_err(|source| Error::CredentialFileUnreadable {
            path: self.path.clone(),
            profile: self.name.clone(),
            setting,
            file,
            source,
        })
    }

    /// An error about the value of a setting.
    pub(super) fn invalid(&self, setting: &'static str, why: &'static str) -> Error {
        Error::SettingInvalid {
            path: self.path.clone(),
            profile: self.name.clone(),
            setting,
            why,
        }
    }
}

/// The sections of an INI text, or the number of the line that is wrong.
fn sections(text: &str) -> Result<BTreeMap<String, BTreeMap<String, String>>, usize> {
    let mut sections: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    let mut current = None;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(name) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
            current = Some(sections.entry(name.trim().to_owned()).or_default());
            continue;
        }
        let (Some(section), Some((key, value))) = (current.as_mut(), line.split_once('=')) else {
            return Err(index + 1);
        };
        section.insert(key.trim().to_ascii_lowercase(), value.trim().to_owned());
    }
    Ok(sections)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\u{feff}# made by hand\r\n[DEFAULT]\r\nuser = ocid1.user.oc1..a\r\n\
        Region=eu-frankfurt-1\r\npass_phrase=a=b#c\r\n\r\n; another\n[ OTHER ]\nregion=us-ashburn-1\n\
        key_file=~/k.pem\nuser=\n";

    fn pick(name: &str) -> Result<Profile> {
        Profile::pick(Path::new("/etc/oci/config"), TEXT, name)
    }

    #[test]
    fn settings_are_read_as_written() {
        let profile = pick("DEFAULT").unwrap();
        assert_eq!(profile.get("user"), Some("ocid1.user.oc1..a"));
        assert_eq!(profile.get("region"), Some("eu-frankfurt-1"));
        assert_eq!(profile.get("pass_phrase"), Some("a=b#c"));
        assert_eq!(profile.get("key_file"), None);
    }

    #[test]
    fn the_default_profile_lends_its_settings() {
        let profile = pick("OTHER").unwrap();
        assert_eq!(profile.get("region"), Some("us-ashburn-1"));
        assert_eq!(profile.get("pass_phrase"), Some("a=b#c"));
        assert_eq!(profile.get_own("pass_phrase"), None);
        let home = std::env::home_dir().unwrap();
        assert_eq!(profile.file("key_file").unwrap(), home.join("k.pem"));
    }

    #[test]
    fn errors_name_file_profile_and_setting_and_no_value() {
        let missing = pick("OTHER").unwrap().require("user").unwrap_err();
        assert_eq!(
            missing.to_string(),
            "profile [OTHER] of /etc/oci/config has no `user`"
        );
        let profile = pick("NOPE").err().unwrap().to_string();
        assert_eq!(
            profile,
            "the OCI configuration file /etc/oci/config has no profile [NOPE]; it has: DEFAULT, OTHER"
        );

        for broken in ["[A]\nuser", "user=x\n[A]"] {
            let error = Profile::pick(Path::new("c"), broken, "A").err().unwrap();
            assert!(matches!(error, Error::ConfigSyntax { .. }), "{error}");
        }
        let unreadable = Profile::read(Path::new("/nowhere/config"), "A")
            .err()
            .unwrap();
        assert!(unreadable.to_string().contains("/nowhere/config"));
    }
}
