package dev.fnbox.runtime.loop;

import com.fasterxml.jackson.core.JsonProcessingException;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** What is told of an exception: to the caller as JSON, to the log as its stack trace. */
final class Failure {
    private static final int DEEPEST = 16;

    private final Throwable error;

    private Failure(Throwable error) {
        this.error = error;
    }

    static Failure of(Throwable error) {
        return new Failure(error);
    }

    String type() {
        return error.getClass().getName();
    }

    String text() {
        StringWriter text = new StringWriter();
        text.append(error.getMessage()).append(": ").append(type()).append('\n');
        error.printStackTrace(new PrintWriter(text, true));
        return text.toString();
    }

    byte[] json() throws JsonProcessingException {
        return Json.MAPPER.writeValueAsBytes(document(error, DEEPEST));
    }

    private static Map<String, Object> document(Throwable error, int depth) {
        Map<String, Object> document = new LinkedHashMap<>();
        document.put("errorMessage", String.valueOf(error.getMessage()));
        document.put("errorType", error.getClass().getName());
        List<String> trace = new ArrayList<>();
        for (StackTraceElement element : error.getStackTrace()) {
            // From here on it is how the handler was called, not what it did.
            if (element.getClassName().startsWith(Failure.class.getPackageName())
                    || element.getClassName().startsWith("java.lang.invoke.")
                    || element.getClassName().startsWith("jdk.internal.reflect.")) {
                break;
            }
            trace.add(element.toString());
        }
        document.put("stackTrace", trace);
        if (error.getCause() != null && depth > 0) {
            document.put("cause", document(error.getCause(), depth - 1));
        }
        return document;
    }
}
