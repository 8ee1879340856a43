package dev.fnbox.runtime.loop;

import java.io.IOException;
import java.io.InputStream;
import java.net.HttpURLConnection;
import java.net.URI;

/** Lambda's Runtime API, over the one connection that the JDK keeps alive. */
final class RuntimeApi {
    private static final String ERROR_TYPE = "Lambda-Runtime-Function-Error-Type";

    private final String base;

    RuntimeApi(String address) {
        base = "http://" + address + "/2018-06-01";
    }

    /** An event and its headers. */
    static final class Event {
        final byte[] body;
        private final HttpURLConnection answer;

        private Event(HttpURLConnection answer, byte[] body) {
            this.answer = answer;
            this.body = body;
        }

        /** A header by what follows `Lambda-Runtime-`; null when there is none. */
        String header(String name) {
            return answer.getHeaderField("Lambda-Runtime-" + name);
        }
    }

    /** Waits, for as long as it takes. */
    Event next() throws IOException {
        HttpURLConnection connection = open("/runtime/invocation/next");
        connection.setReadTimeout(0);
        try (InputStream body = connection.getInputStream()) {
            return new Event(connection, body.readAllBytes());
        }
    }

    /** `errorType` goes into a header; null for a response. */
    void post(String path, byte[] body, String errorType) throws IOException {
        HttpURLConnection connection = open(path);
        connection.setRequestMethod("POST");
        connection.setDoOutput(true);
        connection.setFixedLengthStreamingMode(body.length);
        connection.setRequestProperty("Content-Type", "application/json");
        if (errorType != null) {
            connection.setRequestProperty(ERROR_TYPE, errorType);
        }
        connection.getOutputStream().write(body);
        boolean refused = connection.getResponseCode() >= HttpURLConnection.HTTP_BAD_REQUEST;
        // Read to its end: only then is the connection used again. A response that is too large
        // is refused, and told to the caller, by the platform.
        try (InputStream answer =
                refused ? connection.getErrorStream() : connection.getInputStream()) {
            if (answer != null) {
                answer.readAllBytes();
            }
        }
    }

    private HttpURLConnection open(String path) throws IOException {
        return (HttpURLConnection) URI.create(base + path).toURL().openConnection();
    }
}
