package com.amazonaws.services.lambda.runtime;

/** For code that logs and has no Context. */
public final class LambdaRuntime {
    private static volatile LambdaLogger logger =
            new LambdaLogger() {
                @Override
                public void log(String message) {
                    System.out.print(message);
                }

                @Override
                public void log(byte[] message) {
                    System.out.write(message, 0, message.length);
                }
            };

    private LambdaRuntime() {}

    public static LambdaLogger getLogger() {
        return logger;
    }

    /** The runtime's own; called once, before any handler. */
    public static void setLogger(LambdaLogger replacement) {
        logger = replacement;
    }
}
