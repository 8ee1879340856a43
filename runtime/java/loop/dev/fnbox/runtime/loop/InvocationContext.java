package dev.fnbox.runtime.loop;

import com.amazonaws.services.lambda.runtime.Client;
import com.amazonaws.services.lambda.runtime.ClientContext;
import com.amazonaws.services.lambda.runtime.CognitoIdentity;
import com.amazonaws.services.lambda.runtime.Context;
import com.amazonaws.services.lambda.runtime.LambdaLogger;
import com.fasterxml.jackson.databind.JsonNode;
import java.io.IOException;
import java.util.LinkedHashMap;
import java.util.Map;

/** The Context of one invocation, read from the event's headers and the environment. */
final class InvocationContext implements Context {
    private final RuntimeApi.Event event;
    private final LambdaLogger logger;
    private final long deadline;
    private final JsonNode client;
    private final JsonNode identity;

    InvocationContext(RuntimeApi.Event event, LambdaLogger logger) throws IOException {
        this.event = event;
        this.logger = logger;
        deadline = Long.parseLong(event.header("Deadline-Ms"));
        client = parsed(event.header("Client-Context"));
        identity = parsed(event.header("Cognito-Identity"));
    }

    private static JsonNode parsed(String text) throws IOException {
        return text == null ? null : Json.MAPPER.readTree(text);
    }

    @Override
    public String getAwsRequestId() {
        return event.header("Aws-Request-Id");
    }

    @Override
    public String getLogGroupName() {
        return System.getenv("AWS_LAMBDA_LOG_GROUP_NAME");
    }

    @Override
    public String getLogStreamName() {
        return System.getenv("AWS_LAMBDA_LOG_STREAM_NAME");
    }

    @Override
    public String getFunctionName() {
        return System.getenv("AWS_LAMBDA_FUNCTION_NAME");
    }

    @Override
    public String getFunctionVersion() {
        return System.getenv("AWS_LAMBDA_FUNCTION_VERSION");
    }

    @Override
    public String getInvokedFunctionArn() {
        return event.header("Invoked-Function-Arn");
    }

    @Override
    public String getTenantId() {
        return event.header("Aws-Tenant-Id");
    }

    @Override
    public int getRemainingTimeInMillis() {
        return (int) Math.max(0, deadline - System.currentTimeMillis());
    }

    @Override
    public int getMemoryLimitInMB() {
        return Integer.parseInt(System.getenv("AWS_LAMBDA_FUNCTION_MEMORY_SIZE"));
    }

    @Override
    public LambdaLogger getLogger() {
        return logger;
    }

    @Override
    public CognitoIdentity getIdentity() {
        if (identity == null) {
            return null;
        }
        return new CognitoIdentity() {
            @Override
            public String getIdentityId() {
                return text(identity, "cognitoIdentityId");
            }

            @Override
            public String getIdentityPoolId() {
                return text(identity, "cognitoIdentityPoolId");
            }
        };
    }

    @Override
    public ClientContext getClientContext() {
        if (client == null) {
            return null;
        }
        return new ClientContext() {
            @Override
            public Client getClient() {
                JsonNode application = client.get("client");
                return application == null ? null : new Application(application);
            }

            @Override
            public Map<String, String> getCustom() {
                return texts(client.get("custom"));
            }

            @Override
            public Map<String, String> getEnvironment() {
                return texts(client.get("env"));
            }
        };
    }

    private record Application(JsonNode node) implements Client {
        @Override
        public String getInstallationId() {
            return text(node, "installation_id");
        }

        @Override
        public String getAppTitle() {
            return text(node, "app_title");
        }

        @Override
        public String getAppVersionName() {
            return text(node, "app_version_name");
        }

        @Override
        public String getAppVersionCode() {
            return text(node, "app_version_code");
        }

        @Override
        public String getAppPackageName() {
            return text(node, "app_package_name");
        }
    }

    private static String text(JsonNode node, String name) {
        JsonNode value = node.get(name);
        return value == null || value.isNull() ? null : value.asText();
    }

    private static Map<String, String> texts(JsonNode node) {
        Map<String, String> found = new LinkedHashMap<>();
        if (node != null) {
            node.fields()
                    .forEachRemaining(
                            field ->
                                    found.put(
                                            field.getKey(),
                                            field.getValue().isTextual()
                                                    ? field.getValue().asText()
                                                    : field.getValue().toString()));
        }
        return found;
    }
}
