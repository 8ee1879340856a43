package com.amazonaws.services.lambda.runtime.logging;

/** Formats of log records. */
public enum LogFormat {
    JSON,
    TEXT
}
