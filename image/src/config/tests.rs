//! Configs as Docker and others write them, read and written back.

use super::*;

#[test]
fn dockers_nulls_read_as_empty() {
    let text = r#"{"architecture":"amd64","os":"linux","config":{"Env":null,"Cmd":["sh"],"Volumes":null,
        "Labels":null,"OnBuild":null,"Entrypoint":null,"ExposedPorts":{"80/tcp":{}}},
        "rootfs":{"type":"layers","diff_ids":null},"history":null}"#;
    let config = parse_config(text.as_bytes()).unwrap();
    assert_eq!(config.config.cmd, Some(vec!["sh".to_owned()]));
    assert_eq!(config.config.entrypoint, None);
    assert!(config.config.exposed_ports.contains("80/tcp"));
    assert_eq!(
        String::from_utf8(config.to_bytes()).unwrap(),
        r#"{"architecture":"amd64","os":"linux","config":{"ExposedPorts":{"80/tcp":{}},"Cmd":["sh"]},"rootfs":{"type":"layers","diff_ids":[]}}"#
    );
}

#[test]
fn every_field_survives_reading_and_writing() {
    let text = concat!(
        r#"{"created":"2026-01-02T03:04:05Z","author":"a","architecture":"arm","variant":"v7","os":"linux","#,
        r#""config":{"User":"u","ExposedPorts":{"1/udp":{}},"Env":["A=b"],"Entrypoint":[],"Cmd":["c"],"#,
        r#""Volumes":{"/v":{}},"WorkingDir":"/w","Labels":{"k":"v"},"StopSignal":"9","#,
        r#""Healthcheck":{"Test":["CMD","t"],"Interval":1,"Timeout":2,"StartPeriod":3,"StartInterval":4,"Retries":5},"#,
        r#""OnBuild":["RUN x"],"Shell":["/bin/sh","-c"],"ArgsEscaped":true,"Later":{"x":[1]}},"#,
        r#""rootfs":{"type":"layers","diff_ids":["sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"]},"#,
        r#""history":[{"created_by":"RUN x"},{"created":"2026-01-02T03:04:05Z","created_by":"CMD","author":"b","comment":"c","empty_layer":true}],"#,
        r#""moby.buildkit.cache.v0":"e30=","os.version":"10"}"#,
    );
    let config = parse_config(text.as_bytes()).unwrap();
    assert_eq!(config.config.docker.shell, ["/bin/sh", "-c"]);
    assert_eq!(config.platform().to_string(), "linux/arm/v7");
    assert_eq!(String::from_utf8(config.to_bytes()).unwrap(), text);
}

#[test]
fn refuses_what_is_not_a_config() {
    for (text, says) in [
        ("", "cannot be read"),
        ("[]", "cannot be read"),
        (r#"{"rootfs":{"type":"windows"}}"#, "not `layers`"),
        (r#"{"history":[{"created_by":"RUN x"}]}"#, "1 layers, and it has 0"),
        (r#"{"rootfs":{"type":"layers","diff_ids":["sha256:../../x"]}}"#, "cannot be read"),
    ] {
        assert!(parse_config(text.as_bytes()).unwrap_err().to_string().contains(says), "{text}");
    }
    let large = vec![b' '; 1 + (4 << 20)];
    assert!(matches!(parse_config(&large), Err(ImageError::TooLarge { .. })));
}
