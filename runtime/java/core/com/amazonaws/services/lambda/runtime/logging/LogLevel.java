package com.amazonaws.services.lambda.runtime.logging;

/** Levels of log records, the least first. */
public enum LogLevel {
    UNDEFINED,
    TRACE,
    DEBUG,
    INFO,
    WARN,
    ERROR,
    FATAL
}
