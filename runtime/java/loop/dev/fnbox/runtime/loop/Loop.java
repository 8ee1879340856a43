package dev.fnbox.runtime.loop;

import com.amazonaws.services.lambda.runtime.LambdaRuntime;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.lang.reflect.InvocationTargetException;

/** Asks the Runtime API for an event, calls the handler, posts what it returns. */
public final class Loop {
    private static final int EXIT_ERROR = 1;

    private final RuntimeApi api = new RuntimeApi(System.getenv("AWS_LAMBDA_RUNTIME_API"));
    private final Logger logger;

    private Loop() throws ReflectiveOperationException {
        logger = new Logger(System.getenv("_LAMBDA_TELEMETRY_LOG_FD"));
    }

    public static void run(ClassLoader function) throws IOException, ReflectiveOperationException {
        new Loop().serve(function);
    }

    private void serve(ClassLoader loader) throws IOException {
        LambdaRuntime.setLogger(logger);
        Handler handler;
        try {
            handler = Handlers.load(System.getenv("_HANDLER"), loader);
        } catch (ReflectiveOperationException | LinkageError | RuntimeException error) {
            fail("/runtime/init/error", Failure.of(cause(error)));
            return;
        }
        while (true) {
            RuntimeApi.Event event = api.next();
            String path = "/runtime/invocation/" + event.header("Aws-Request-Id");
            try {
                setTrace(event.header("Trace-Id"));
                ByteArrayOutputStream result = new ByteArrayOutputStream();
                handler.handle(
                        new ByteArrayInputStream(event.body),
                        result,
                        new InvocationContext(event, logger));
                System.out.flush();
                api.post(path + "/response", result.toByteArray(), null);
            } catch (Throwable thrown) { // whatever a handler throws is its caller's to know
                Throwable error = cause(thrown);
                if (error instanceof VirtualMachineError) {
                    // Nothing can be said of a virtual machine that has run out of something.
                    fail(path + "/error", Failure.of(error));
                }
                report(path + "/error", Failure.of(error));
            }
        }
    }

    private void fail(String path, Failure failure) throws IOException {
        report(path, failure);
        Runtime.getRuntime().halt(EXIT_ERROR);
    }

    private void report(String path, Failure failure) throws IOException {
        logger.error(failure.text());
        System.out.flush();
        api.post(path, failure.json(), failure.type());
    }

    /** Where X-Ray's SDK for Java looks: a process cannot change its environment. */
    private static void setTrace(String trace) {
        if (trace == null) {
            System.clearProperty("com.amazonaws.xray.traceHeader");
        } else {
            System.setProperty("com.amazonaws.xray.traceHeader", trace);
        }
    }

    private static Throwable cause(Throwable error) {
        boolean wrapped =
                error instanceof InvocationTargetException
                        || error instanceof ExceptionInInitializerError;
        return wrapped && error.getCause() != null ? error.getCause() : error;
    }
}
