#![no_main]
mailbell_fuzz::target!(mailbell_fuzz::bodies::healthcheck::run);
