package com.amazonaws.services.lambda.runtime;

/** Who the caller is to Amazon Cognito. */
public interface CognitoIdentity {
    String getIdentityId();

    String getIdentityPoolId();
}
