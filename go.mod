module rfc6455.example/websocket

go 1.26
