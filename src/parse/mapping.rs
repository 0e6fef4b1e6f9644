//! XML of vocabularies that mailbell does not know by itself, read as config says.

/// All mappings of the config, by the root element that they read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Mappings {}
